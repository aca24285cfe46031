"""A family from outside that learns nothing goes through the whole flow (`tests/own_family.py`)."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from places import REPOSITORY
from rich.console import Console
from safetensors.torch import load_file
from tones import write_emotions

import run_downstream
import upstream
from downstream import experiment
from downstream.cli.main import main
from downstream.recipes.options import Options
from downstream.report import terminal
from downstream.results.reading import load_results
from downstream.results.record import read_result
from downstream.run_steps import Outcome
from downstream.tasks.registry import load_recipe
from upstream.errors import UserError

MODULE = REPOSITORY / "tests" / "own_family.py"
RECIPE = {
    "name": "own/projections",
    "version": 1,
    "title": "Fixed projections",
    "task": "own_family.py:FixedProjections",
    "protocol": "clean",
    "corpus": {"name": "manifest"},
    "split": {"rule": "speaker_folds", "folds": 3},
    "primary": "hit_rate",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emotions(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The recipe's file, with the module beside it."""
    shutil.copy(MODULE, tmp_path)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path / "own.yaml"


def run(recipe: Path, corpus: Path, *overrides: str, **changes: object) -> Outcome:
    folder = recipe.parent
    options = Options(data=corpus, results=folder / "results", store=folder / "store", progress=False)
    model = upstream.load("wavlm_nano", random_init=True)
    outcome = experiment.run(model, load_recipe(recipe, overrides), replace(options, **changes))
    assert outcome is not None
    return outcome


def shown(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> str:
    terminal.show(outcome.result, outcome.folder, Console(width=120))
    return capsys.readouterr().out


def test_the_best_layer_of_development_is_tested_and_recorded(recipe: Path, corpus: Path) -> None:
    outcome = run(recipe, corpus)
    result = outcome.result
    assert result.task == "../../../../../own_family.py:FixedProjections"  # seen from the record's folder
    assert (result.primary.name, result.primary.part, result.select) == ("hit_rate", "test", "hit_rate")
    assert [layer.layer for layer in result.layers] == ["best"]  # no weighted sum can be learned
    assert result.seeds == {"head": [0], "order": []}
    assert len(result.grid) == 3 * 4
    assert {(fit.lr, fit.step, fit.diverged) for fit in result.grid} == {(None, 0, None)}
    assert all(fit.curve == [] for fit in result.grid)
    for head in result.heads:
        own = {fit.layer: fit.development for fit in result.grid if fit.fold == head.fold}
        assert (head.setting, head.lr, head.step) == ("best", None, 0)
        assert head.layer == max(own, key=lambda layer: (own[layer], -layer))
        assert head.development == own[head.layer]
        assert head.layer_weights == [float(layer == head.layer) for layer in range(4)]
    assert result.primary.value == pytest.approx(np.mean([head.metrics["test"]["hit_rate"] for head in result.heads]))
    assert result.primary.low is not None
    assert result.primary.low <= result.primary.value
    assert result.chance == pytest.approx(1 / 3)
    assert result.details == {"classes": ["high", "low", "middle"]}
    assert result.metric_types["hit_rate"].title == "hits"
    assert read_result(outcome.folder / "result.json") == result


def test_what_lies_beside_the_record(recipe: Path, corpus: Path) -> None:
    outcome = run(recipe, corpus)
    rows = [json.loads(line) for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == 72
    for head in outcome.result.heads:
        own = [row["label"] == row["predicted"] for row in rows if row["fold"] == head.fold]
        assert np.mean(own) == pytest.approx(head.metrics["test"]["hit_rate"])
        assert head.details["test"] == {"right": sum(own)}
    tensors = load_file(outcome.folder / "head.safetensors")
    assert {name.partition(".")[2] for name in tensors} == {"directions", "weighted_sum.weights"}
    assert torch.equal(
        tensors["fold1-seed0-best.directions"], torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    )
    assert load_recipe(outcome.folder / "recipe.yaml") == load_recipe(recipe)


def test_a_finished_run_is_read_back_and_the_same_again(recipe: Path, corpus: Path) -> None:
    first, again = run(recipe, corpus), run(recipe, corpus)
    assert again.was_finished
    assert (again.result, again.folder) == (first.result, first.folder)
    fresh = run(recipe, corpus, fresh=True)
    assert not fresh.was_finished
    assert fresh.result.model_dump(exclude={"timing"}) == first.result.model_dump(exclude={"timing"})
    assert not (first.folder / "snapshot").exists()


def test_layers_and_seeds_are_swept(recipe: Path, corpus: Path) -> None:
    result = run(recipe, corpus, "sweep.layer=[best, mix, 0, 3]", "sweep.seed=[0, 5]").result
    assert [layer.layer for layer in result.layers] == ["best", None, 0, 3]
    assert len(result.grid) == 3 * 2 * 5
    assert list(result.layers[0].score("hit_rate").by_seed) == [0, 5]
    first = run(recipe, corpus, layer=3).result
    assert first.primary.value == pytest.approx(result.layers[3].score("hit_rate").by_seed[0])
    assert [layer.layer for layer in first.layers] == [3]


def test_its_scores_and_tables_are_shown(recipe: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(recipe, corpus)
    right = sum(head.details["test"]["right"] for head in outcome.result.heads)
    said = shown(outcome, capsys)
    assert f"{right} were hits, of 3 classes" in said
    assert f"hits {100 * outcome.result.primary.value:.2f} %" in said
    (fold,) = (line for line in said.splitlines() if line.split()[:1] == ["fold1"])
    assert fold.split()[-1:] == ["24"]  # tested; a head that learns nothing has no step and no learning rate
    table = load_results(recipe.parent / "results")
    assert len(table) == 1
    (row,) = table.to_dict("records")
    assert (row["recipe"], row["layer"], row["metric"]) == ("own/projections", "best", "hit_rate")
    assert (row["value"], row["folds"], row["seeds"]) == (outcome.result.primary.value, 3, 1)


def test_without_its_module_all_but_its_own_tables_is_shown(
    recipe: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(recipe, corpus)
    (recipe.parent / "own_family.py").unlink()
    said = shown(replace(outcome, result=read_result(outcome.folder / "result.json")), capsys)
    assert "were hits" not in said
    assert f"hits {100 * outcome.result.primary.value:.2f} %" in said


def test_another_module_under_the_same_name_is_another_question(recipe: Path, corpus: Path) -> None:
    """The digest of the module's file is part of it."""
    first = run(recipe, corpus)
    module = recipe.parent / "own_family.py"
    module.write_text(module.read_text().replace("argmax(dim=1)", "argmin(dim=1)"))
    second = run(recipe, corpus)
    assert not second.was_finished
    assert second.result.primary.value != first.result.primary.value  # in the same process, by the new code
    assert second.folder != first.folder
    assert second.result.learned != first.result.learned


def test_it_is_run_and_validated_by_the_command(recipe: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(recipe)]) == 0
    assert "own.yaml: valid" in capsys.readouterr().out
    folder = recipe.parent
    arguments = ["-u", "fbank_no_cmvn", "-d", str(recipe), "--data", str(corpus), "-o", "head.directions=7"]
    places = ["--results", str(folder / "results"), "--store", str(folder / "store")]
    assert run_downstream.main([*arguments, *places]) == 0
    (record,) = (folder / "results" / "own" / "projections").rglob("result.json")
    assert read_result(record).recipe.overrides == ["head.directions=7"]


@pytest.mark.parametrize("line", ["projections: Tensor = head(", "return Hits(self,", "self.register_buffer("])
def test_whatever_its_code_raises_names_the_line(
    line: str, recipe: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = recipe.parent / "own_family.py"
    lines = module.read_text().splitlines()
    number = next(index for index, text in enumerate(lines) if line in text)
    indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    lines[number] = f"{indent}{{}}['nothing']"
    module.write_text("\n".join(lines))
    places = ["--results", str(recipe.parent / "results"), "--store", str(recipe.parent / "store")]
    assert run_downstream.main(["-u", "fbank_no_cmvn", "-d", str(recipe), "--data", str(corpus), *places]) == 2
    assert f"own_family.py fails at line {number + 1}: KeyError: 'nothing'. Fix the family" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "none.py:FixedProjections"}, "There is no file none.py"),
        ({"task": "own_family.py:Directions"}, "has no family 'Directions'"),
        ({"task": "own_family.py:Nothing"}, "has no family 'Nothing'"),
        ({"task": "projections"}, "There is no task 'projections'; the tasks are classification,"),
        ({"task": "broken.py:Family"}, "broken.py: ZeroDivisionError"),
        ({"primary": "accuracy"}, "primary is accuracy; a task of"),
        ({"optimizer": {"lr": 1e-3}}, "There is no key 'optimizer'"),
        ({"sweep": {"lr": [1e-3]}}, "sweep.lr lists learning rates, and nothing is learned by gradient descent"),
        ({"head": {"direction": 3}}, "did you mean directions?"),
    ],
)
def test_what_is_wrong_with_its_recipe_is_a_sentence(changes: dict[str, object], words: str, recipe: Path) -> None:
    (recipe.parent / "broken.py").write_text("1 / 0\n")
    recipe.write_text(yaml.safe_dump(RECIPE | changes))
    with pytest.raises(UserError) as refusal:
        load_recipe(recipe)
    assert words in str(refusal.value)
    assert str(recipe) in str(refusal.value)


def test_the_module_is_found_beside_the_recipe_or_in_the_working_directory(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    recipe.rename(elsewhere / "own.yaml")
    with pytest.raises(UserError, match="There is no file own_family.py"):
        load_recipe(elsewhere / "own.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(elsewhere / "own.yaml").task == "own_family.py:FixedProjections"
