"""The model card of wavlm_tiny: made from the record and the scores beside it, and never by hand."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from places import REPOSITORY, program_of_docs
from tones import write_emotions

import downstream

FOLDER = REPOSITORY / "upstream" / "models" / "wavlm_tiny"
COMMAND = (
    "/home/ann/bin/wavprobe pretrain wavlm_tiny -v --data espeak=/home/ann/espeak --seed 3 -o 'batch.seconds=8' "
    "--results /home/ann/r -n mine"
)
SCORE = {
    "task": "`-d emotion`, RAVDESS",
    "score": "accuracy, %",
    "wavlm_tiny": [50.04, 46.0, 54.25],
    "untrained": [26.8, None, None],
    "fbank_no_cmvn": None,
    "over_untrained": [23.24, -1.0, 30.0],
    "over_fbank_no_cmvn": None,
    "layers": {"0": 30.1, "1": 48.2},
    "other_trainings": [],
}


@pytest.fixture(scope="module")
def cards() -> ModuleType:
    return program_of_docs("model_card")


def test_the_card_is_that_of_the_record(cards: ModuleType) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card == cards.card(FOLDER), "run `python docs/model_card.py`"
    record = json.loads((FOLDER / "pretraining.json").read_text(encoding="utf-8"))
    assert f"{record['parameters']:,}" in card
    assert all(f"{source['hours']:.2f}" in card for source in record["speech"])
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_weights_are_taken_without_the_machine_they_were_made_on(cards: ModuleType, tmp_path: Path) -> None:
    trained, to = shutil.copytree(FOLDER, tmp_path / "trained"), tmp_path / "to"
    record = json.loads((trained / "pretraining.json").read_text(encoding="utf-8"))
    first, *_ = record["speech"]
    record |= {"command": COMMAND, "speech": [first | {"name": "espeak", "title": "espeak (by its manifest.csv)"}]}
    (trained / "pretraining.json").write_text(json.dumps(record))
    to.mkdir()
    (to / "scores.json").write_text(json.dumps([SCORE]))
    cards.take(trained, to)
    taken = json.loads((to / "pretraining.json").read_text(encoding="utf-8"))
    assert taken["command"] == ("wavprobe pretrain wavlm_tiny --data espeak=path/to/espeak --seed 3 -o batch.seconds=8")
    assert (to / "model.safetensors").read_bytes() == (FOLDER / "model.safetensors").read_bytes()
    card = cards.card(to)
    assert "No scores of these weights are kept yet." in card  # those of other weights are gone
    assert "python examples/synthetic_speech.py path/to --sources espeak\n" in card
    assert "which does not cover the sound that it makes" in card  # the attribution


def test_no_folder_of_a_machine_is_shipped() -> None:
    for path in (FOLDER / "pretraining.json", FOLDER / "README.md"):
        assert re.findall(r"(?<![\w/:.])/\w+/\S*", path.read_text(encoding="utf-8")) == [], path


def test_scores_have_their_intervals(cards: ModuleType, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "model")
    (folder / "scores.json").write_text(json.dumps([SCORE]))
    row = "| **50.0 (46.0 to 54.2)** | 26.8 | - | +23.2 (-1.0 to +30.0) | - |"
    card = cards.card(folder)
    assert f"| `-d emotion`, RAVDESS | accuracy, % {row}\n" in card
    assert "By layer, accuracy, %, `-d emotion`, RAVDESS: 0: 30.1, 1: 48.2.\n" in card
    assert "as the table shows" not in card
    again = {**SCORE, "other_trainings": [[49.0, 45.0, 53.0]]}
    (folder / "scores.json").write_text(json.dumps([again, SCORE]))
    card = cards.card(folder)
    assert "| **50.0 (46.0 to 54.2)** | 49.0 (45.0 to 53.0) | 26.8 |" in card
    assert "| **50.0 (46.0 to 54.2)** | - | 26.8 |" in card  # this task was not scored again
    assert "another seed gives others, as the table shows" in card


def test_points_of_the_curve_have_both_ends(cards: ModuleType) -> None:
    assert cards.evenly(range(100), 6) == [0, 20, 40, 59, 79, 99]
    assert cards.evenly([1, 2], 6) == [1, 2]


def test_scores_are_those_of_the_records(tmp_path: Path) -> None:
    scores = program_of_docs("model_scores")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_emotions(corpus)
    short = {"training.steps": 20, "training.evaluate_every": 20, "split.folds": 3}
    runs = {
        name: downstream.run(
            "emotion", name, data=corpus, corpus="manifest", overrides=short, results=tmp_path / "results",
            store=tmp_path / "store", progress=False,
        )
        for name in ("fbank_no_cmvn", "wavlm_tiny")
    }  # fmt: skip
    (row,) = scores.scores_below(tmp_path / "results")
    own, other = runs["wavlm_tiny"].primary, runs["fbank_no_cmvn"].primary
    assert row["wavlm_tiny"][0] == round(100 * own.value, 2)
    assert row["fbank_no_cmvn"][0] == round(100 * other.value, 2)
    assert row["over_fbank_no_cmvn"][0] == pytest.approx(100 * (own.value - other.value), abs=0.01)
    assert row["score"] == "accuracy, %"
    assert "-o training.steps=20" in row["task"]
    assert row["untrained"] is row["over_untrained"] is None  # no such run
    assert row["layers"] == {}
    assert row["other_trainings"] == []
    (row,) = scores.scores_below(tmp_path / "results", [tmp_path / "results" / "emotion" / "fbank_no_cmvn"])
    assert row["other_trainings"] == [row["fbank_no_cmvn"]]
