"""Whole runs with two test parts, of every family: the first one named is primary, the other stands beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_corpora import WORDS, corpus, row, voices

import upstream
from downstream.data.corpus import Utterance
from downstream.experiment import run
from downstream.recipes.options import Options
from downstream.results.record import Result, read_result
from downstream.tasks.registry import load_recipe

PARTS = ["split.train=[train]", "split.dev=[dev]", "split.test=[far, close]"]
FEW = ["training.steps=2", "training.evaluate_every=1"]
RECIPES = {
    "keyword": [*WORDS, "corpus.others=null", "corpus.silence=null", "head.pooling=attention", "training.batch=4"],
    "asr": ["head.hidden=8", "head.projection=8", "training.batch_seconds=2"],
    "sv_xvector": ["split.longer_than=0", "training.batch=4", "head.projection=8", "training.crop.seconds=0.2"],
    "superb/asv": [
        "split.dev=[]",
        "split.longer_than=0",
        "training.batch=4",
        "trials.list=drawn",
        "corpus.effects.remove_silence=false",
    ],
}
METRICS = {
    "keyword": ["accuracy", "unweighted_accuracy", "macro_f1"],
    "asr": ["wer", "cer"],
    "sv_xvector": ["eer", "min_dcf_0.01", "min_dcf_0.05"],
    "superb/asv": ["eer", "min_dcf_0.01", "min_dcf_0.05"],
}


def spoken() -> list[Utterance]:
    """Four takes of each of three speakers more; of the test speakers the first two takes are far, the others close."""
    further = [
        row(f"{name}{take}", name, 0.12 + 0.1 * take, text=f"word {name}") for name in "klm" for take in range(4)
    ]
    return [
        replace(
            one,
            split=one.split or "test",
            part=one.split if one.split in {"train", "dev"} else ("far", "far", "close", "close")[int(one.id[1])],
            labels={"word": ("go", "stop")[int(one.id[1]) % 2]},
        )
        for one in [*voices(), *further]
    ]


def carried_out(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Result:
    monkeypatch.setattr("downstream.data.dataset.load_corpus", lambda *_: corpus(spoken()))
    recipe = load_recipe(name, [*PARTS, *FEW, *RECIPES[name], *overrides])
    options = Options(results=folder / "results", store=folder / "store", progress=False)
    outcome = run(upstream.load("fbank_no_cmvn"), recipe, options)
    assert outcome is not None
    assert read_result(outcome.folder / "result.json") == outcome.result
    return outcome.result


@pytest.mark.parametrize("name", RECIPES)
def test_both_parts_have_every_metric_and_the_first_is_primary(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = carried_out(name, tmp_path, monkeypatch)
    scores = result.layers[0].scores
    assert [(one.part, one.metric) for one in scores] == [
        (part, one) for part in ("far", "close") for one in METRICS[name]
    ]
    assert (result.primary.name, result.primary.part) == (METRICS[name][0], "far")
    assert all(one.chance is not None for one in scores)
    assert all(one.interval.startswith("95 %, t over ") for one in scores)
    assert all(one.low <= one.value <= one.high for one in scores)
    (fold,) = result.folds
    assert {part: own.utterances for part, own in fold.parts.items()} == {"far": 10, "close": 10}
    folder = result.folder
    assert folder is not None
    if name in ("keyword", "asr"):
        rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [row["part"] for row in rows] == ["far", "far", "close", "close"] * 5
    if name != "keyword":
        endings = {"asr": ["ref", "hyp", "errors.txt"]}.get(name, ["trials.txt", "det.csv", "det.png"])
        stem = f"{fold.name}-seed0"
        assert {path.name for path in folder.glob(f"{stem}.*")} == {
            f"{stem}{part}.{ending}" for part in ("", ".close") for ending in endings
        }


def test_another_order_of_the_parts_is_another_run_with_the_same_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = carried_out("keyword", tmp_path, monkeypatch)
    other = carried_out("keyword", tmp_path, monkeypatch, "split.test=[close, far]")
    assert one.folder != other.folder
    assert one.learned == other.learned
    assert (one.primary.part, other.primary.part) == ("far", "close")
    for score in one.layers[0].scores:
        assert other.layers[0].score(score.metric, score.part) == score
