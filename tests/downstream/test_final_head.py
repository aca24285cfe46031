"""One head of all data: chosen as development chose, recorded beside the score, and used where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from small_runs import COMPARING, FAMILIES, SPEAKERS, WORDS, small_run, write_words

import upstream
from downstream import experiment
from downstream.cli.main import main
from downstream.data.all_data import on_all_data
from downstream.data.dataset import read_dataset
from downstream.prediction import predict
from downstream.recipes.options import Options
from downstream.report.terminal import final_line
from downstream.results.final import final_config
from downstream.results.head_file import head_name
from downstream.results.record import Result, read_result
from downstream.tasks.registry import family_of, load_recipe
from downstream.training.sweep import Config
from upstream.errors import UserError

USED = 2 * len(SPEAKERS) * len(WORDS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


def about(result: Result) -> dict[str, object]:
    assert result.folder is not None
    with safe_open(result.folder / "final.safetensors", "pt") as heads:
        found: dict[str, object] = json.loads(heads.metadata()["wavprobe"])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_one_head_of_all_data(family: str, corpus: Path, tmp_path: Path) -> None:
    result = small_run(family, corpus, tmp_path, final=True)
    assert result.folder is not None
    assert result.final is not None
    assert result.final.utterances == USED
    assert result.final.step in {head.step for head in result.heads}
    assert read_result(result.folder / "result.json") == result
    assert "final.safetensors" in result.artifacts
    described = about(result)
    assert described["primary"] == ["final"]
    if family in COMPARING:
        assert described["folds"]["final"]["outputs"] == sorted(SPEAKERS)  # type: ignore[index]
    test = sorted(map(str, corpus.glob("f*.wav")))
    answers = predict(result.folder, test, progress=False)
    assert "The head final of" in answers.notes[-1]
    assert "the score of heads that learned from less is" in answers.notes[-1]
    assert len(list(answers.rows)) == (28 if family in COMPARING else 8)
    name = head_name("published", result.heads[0].seed, result.heads[0].setting)
    assert f"The head {name} of" in predict(result.folder, test, heads=[name], progress=False).notes[-1]


def test_it_is_added_to_a_finished_run_whose_score_stays(corpus: Path, tmp_path: Path) -> None:
    before = small_run("class", corpus, tmp_path)
    assert before.folder is not None
    kept = {path.name: path.read_bytes() for path in before.folder.iterdir() if path.is_file()}
    after = small_run("class", corpus, tmp_path, final=True)
    assert after.folder == before.folder
    changed = {
        path.name for path in before.folder.iterdir() if path.is_file() and kept.get(path.name) != path.read_bytes()
    }
    assert changed == {"result.json", "final.safetensors"}
    assert after.model_copy(update={"final": None, "artifacts": before.artifacts}) == before
    stamp = (before.folder / "final.safetensors").stat().st_mtime_ns
    again = small_run("class", corpus, tmp_path, final=True)
    assert again == after
    assert small_run("class", corpus, tmp_path) == after  # shown without asking for it
    assert (before.folder / "final.safetensors").stat().st_mtime_ns == stamp
    (before.folder / "final.safetensors").unlink()
    small_run("class", corpus, tmp_path, final=True)
    assert (before.folder / "final.safetensors").is_file()


def test_it_is_the_head_that_training_on_all_data_gives(corpus: Path, tmp_path: Path) -> None:
    """Of a corpus whose training part is all of it, and whose development set would choose the last step."""
    result = small_run("class", corpus, tmp_path, "training.evaluate_every=12", "sweep.seed=[0]", final=True)
    whole = tmp_path / "whole"
    whole.mkdir()
    rows = (corpus / "manifest.csv").read_text().splitlines()
    for row in rows[1:]:
        name = row.split(",")[0]
        (whole / name).symlink_to(corpus / name)
    trained = [",".join([*row.split(",")[:2], "train", *row.split(",")[3:]]) for row in rows[1:]]
    others = [
        row.replace(row.split(",")[0], f"x{row.split(',')[0]}", 1) for row in rows[1:] if row.split(",")[2] != "train"
    ]
    for row in others:
        (whole / row.split(",")[0]).symlink_to(corpus / row.split(",")[0][1:])
    (whole / "manifest.csv").write_text("\n".join([rows[0], *trained, *others]) + "\n")
    options = ("training.evaluate_every=12", "sweep.seed=[0]", "split.shared_speakers=true")
    expected = small_run("class", whole, tmp_path, *options)
    assert result.folder is not None
    assert expected.folder is not None
    with (
        safe_open(result.folder / "final.safetensors", "pt") as own,
        safe_open(expected.folder / "head.safetensors", "pt") as other,
    ):
        for name in own.keys():  # noqa: SIM118
            reference = other.get_tensor(name.replace("final.", "published-seed0.", 1))
            assert torch.equal(own.get_tensor(name), reference), name


def test_rate_and_layer_are_those_of_most_and_steps_their_median() -> None:
    result = Result.model_construct(
        layers=[SimpleNamespace(layer="best")],
        metric_types={"wer": SimpleNamespace(higher_is_better=False)},
        select="wer",
        heads=[
            type(
                "H", (), {"setting": "best", "lr": lr, "layer": layer, "step": step, "seed": seed, "development": score}
            )()
            for lr, layer, step, seed, score in (
                (1e-2, 3, 100, 0, 0.5),
                (1e-3, 4, 40, 1, 0.4),
                (1e-3, 4, 10, 2, 0.3),
                (1e-3, 4, 30, 3, 0.6),
                (1e-2, 3, 90, 4, 0.2),
                (1e-2, 3, 80, 5, 0.1),
            )
        ],
    )
    assert final_config(result) == (Config(1e-2, 0, 3), 90)  # as many as the other pair, and fewer errors
    assert final_config(result.model_copy(update={"heads": result.heads[:4]})) == (Config(1e-3, 1, 4), 30)


def test_divergence_and_contradiction_are_said(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = experiment.learn

    def diverging(*arguments: object, stop_at: int | None = None) -> object:
        fits = real(*arguments, stop_at=stop_at)  # type: ignore[arg-type]
        if stop_at is not None:
            fits[0].weights = {}
        return fits

    monkeypatch.setattr(experiment, "learn", diverging)
    with pytest.raises(UserError, match=r"The head of all data diverged .* recorded without it"):
        small_run("class", corpus, tmp_path, final=True)
    (record,) = tmp_path.rglob("result.json")
    assert read_result(record).final is None
    with pytest.raises(UserError, match="--final learns a head, which -m evaluate forbids"):
        Options(final=True, may_learn=False)
    assert main(["run", "-u", "fbank", "-d", "demo/emotion", "--final", "-m", "evaluate"]) == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_an_interrupted_training_on_all_data_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = load_recipe("emotion", FAMILIES["class"][1:])
    places = {"results": tmp_path / "results", "store": tmp_path / "store"}
    options = Options(data=corpus, **places, final=True, progress=False, snapshot_seconds=1e-6)
    model = upstream.load("fbank_no_cmvn")
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "record_final", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            experiment.run(model, recipe, options)
    (snapshot,) = tmp_path.rglob("snapshot")
    outcome = experiment.run(model, recipe, options)
    assert outcome is not None
    assert outcome.result.final is not None
    assert not snapshot.exists()
    assert not caplog.records  # no word of a snapshot of other heads


def test_the_terminal_says_what_it_learned_from(corpus: Path, tmp_path: Path) -> None:
    result = small_run("class", corpus, tmp_path, "sweep.layer=[2]", final=True)
    assert result.final is not None
    assert final_line(result.final).startswith(f"a head on layer 2 learned from all {USED} utterances, 0.3 min, in ")


def test_short_utterances_are_left_out_as_in_training(corpus: Path) -> None:
    recipe = load_recipe("emotion", ["corpus.name=manifest", "split.rule=published"])
    dataset = read_dataset(recipe, family_of(recipe), corpus, corpus / "cache", progress=False)
    (fold,) = on_all_data(dataset, 0.15).split.folds
    assert {dataset.items[i].seconds for i in fold.train} == {0.3, 0.4}  # of the words, A lasts 0.1 s
    assert fold.dev == dataset.split.folds[0].dev
    assert fold.test == ()
