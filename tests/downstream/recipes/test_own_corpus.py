"""The worked example of docs/own_recordings.md: its three recipes, on a corpus with its manifest."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from places import REPOSITORY

import run_downstream
from downstream.results.record import read_result
from downstream.tasks.registry import load_recipe

TEXT = (REPOSITORY / "docs" / "own_recordings.md").read_text(encoding="utf-8")
RECIPES = {yaml.safe_load(block)["name"]: block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)}
(COMMAND,) = re.findall(r"`wavprobe run (.* -d my_words\.yaml .*?)`", TEXT)  # of one recipe; the others' are alike
PITCHES = {"UP": 600.0, "DOWN": 300.0}
LONGEST = 40  # lines that a recipe of one's own may take

# What the example leaves out so that it runs in seconds here: shorter training, smaller heads.
SHORTER = {
    "my_words": ["training.steps=60", "training.evaluate_every=20"],
    "my_transcripts": ["training.steps=4", "training.evaluate_every=2", "head.hidden=8", "head.projection=16"],
    "my_speakers": [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight speakers who hum two words; the manifest has the columns of the example."""
    folder = tmp_path_factory.mktemp("own")
    header = next(csv.reader(re.findall(r"```csv\n(.*?)```", TEXT, re.DOTALL)[0].splitlines()))
    random = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        for number in range(8):
            split = "train" if number < 4 else "dev" if number < 6 else "test"
            for take in range(6):
                word = ("UP", "DOWN")[take % 2]
                path = f"speaker{number}/{take:03}.wav"
                time = np.arange(12_000) / 16_000
                tone = np.sin(2 * np.pi * PITCHES[word] * (1 + 0.02 * number) * time)
                (folder / path).parent.mkdir(exist_ok=True)
                soundfile.write(folder / path, 0.3 * tone + 0.01 * random.standard_normal(12_000), 16_000)
                cells = {"path": path, "speaker": f"speaker{number}", "label": word.lower(), "text": word}
                writer.writerow(cells | {"split": split})
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_the_worked_example_runs(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = COMMAND.replace("wavlm_base", "fbank_no_cmvn").replace("my_words", name)
    arguments = shlex.split(command.replace("path/to/folder", str(folder)))
    Path(f"{name}.yaml").write_text(RECIPES[name], encoding="utf-8")
    arguments += [part for override in SHORTER[name] for part in ("-o", override)]
    assert run_downstream.main([*arguments, "--store", str(tmp_path / "store")]) == 0
    (record,) = (tmp_path / "results" / name).rglob("result.json")
    result = read_result(record)
    assert result.corpus.used.utterances == 48
    assert result.recipe.name == name
    if name == "my_words":
        assert result.primary.value > 0.9
    shown = capsys.readouterr().out
    assert "clean" in shown
    assert str(record.relative_to(tmp_path)) in shown


def test_the_example_has_a_recipe_for_every_task_and_none_is_long() -> None:
    assert set(RECIPES) == set(SHORTER)
    assert {yaml.safe_load(block)["task"] for block in RECIPES.values()} == {
        "classification",
        "recognition",
        "verification",
    }
    assert max(len(block.splitlines()) for block in RECIPES.values()) <= LONGEST


def test_every_recipe_of_the_repository_says_which_protocol_it_is() -> None:
    for path in sorted((REPOSITORY / "recipes").rglob("*.yaml")):
        if path.parent.name in ("suites", "pretrain"):
            continue
        recipe = load_recipe(str(path.relative_to(REPOSITORY / "recipes").with_suffix("")))
        expected = path.parent.name if path.parent.name in {"superb", "demo"} else "clean"
        assert recipe.protocol == expected
        assert recipe.name == str(path.relative_to(REPOSITORY / "recipes").with_suffix(""))
