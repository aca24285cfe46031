"""Records of schema 3 stay readable: four that the code of commit 7cb0eb2 wrote (`schema3/`, with shortened curves)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from downstream.report import terminal
from downstream.report.tables import tables_of
from downstream.results.reading import load_results
from downstream.results.record import SCHEMA, Result, read_result, write_result
from downstream.results.schema3 import NO_INTERVAL
from upstream.errors import UserError

RECORDS = Path(__file__).with_name("schema3")
NAMES = ("classification", "recognition", "sweep", "verification")


def content(name: str) -> dict[str, Any]:
    """The record as it was written."""
    written: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_bytes())
    return written


def read(name: str) -> Result:
    return read_result(RECORDS / f"{name}.json")


def shown(result: Result, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    terminal.show(result, folder, Console(width=140))
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_what_did_not_change_is_read_as_it_stands(name: str) -> None:
    old, new = content(name), read(name)
    assert (old["schema"], new.schema_version, SCHEMA) == (3, 4, 4)
    dumped = new.model_dump(mode="json", by_alias=True)
    same = ("task", "recipe", "upstream", "corpus", "states", "learned", "chance", "chance_means", "layer_weights",
            "timing", "environment", "command", "caveats")  # fmt: skip
    assert dumped["corpus"].pop("speaker_disjoint") is None  # not known of earlier runs
    assert {key: dumped[key] for key in same} == {key: old[key] for key in same}
    assert new.seeds == old["seeds"]
    assert new.folder == RECORDS
    assert [fit.model_dump(mode="json") for fit in new.grid] == old["grid"]
    assert dumped["primary"] == old["primary"] | {"part": new.primary.part}


@pytest.mark.parametrize("name", NAMES)
def test_every_score_is_kept(name: str) -> None:
    old, new = content(name), read(name)
    endings = {part: f"_{part}" for part in new.folds[0].metrics if part != new.primary.part}
    flat = {f"{one.metric}{endings.get(one.part, '')}": one for one in new.layers[0].scores}
    assert {key: score.value for key, score in flat.items()} == pytest.approx(old["metrics"])
    primary = flat.pop(old["primary"]["name"])
    assert (primary.value, primary.low, primary.high) == tuple(old["primary"][key] for key in ("value", "low", "high"))
    assert primary.chance == old["chance"]
    assert all(
        (one.low, one.high, one.interval, one.chance) == (None, None, NO_INTERVAL, None) for one in flat.values()
    )
    for before, after in zip(old["layers"], new.layers, strict=True):
        score = after.score(new.primary.name)
        assert (after.layer, score.value) == (before["layer"], before["value"])
        assert (score.low, score.high) == (before["low"], before["high"])
        assert score.by_seed == {int(seed): value for seed, value in before["by_seed"].items()}
    for before, after in zip([*old["folds"], *old["heads"]], [*new.folds, *new.heads], strict=True):
        values = {
            f"{metric}{endings.get(part, '')}": value
            for part, metrics in after.metrics.items()
            for metric, value in metrics.items()
        }
        assert values == before["metrics"]


def test_heads_keep_what_their_family_says_of_them() -> None:
    for name, kind in (("classification", "confusion"), ("recognition", "errors"), ("verification", "trials")):
        old, new = content(name), read(name)
        assert [head.details for head in new.heads] == [{new.primary.part: {kind: head[kind]}} for head in old["heads"]]
        for before, after in zip(old["heads"], new.heads, strict=True):
            same = ("fold", "seed", "layer", "lr", "step", "development", "layer_weights")
            assert {key: getattr(after, key) for key in same} == {key: before[key] for key in same}
            assert after.setting == before["layer"]


def test_classes_and_metrics_are_described() -> None:
    emotion, asr, sv = read("classification"), read("recognition"), read("verification")
    assert emotion.details == {"classes": ["neutral", "happy", "angry", "sad"]}
    assert (asr.details, sv.details) == ({}, {})
    assert (emotion.primary.name, emotion.select) == ("unweighted_accuracy", "macro_f1")  # of training.select
    assert (asr.select, sv.select) == ("wer", "eer")
    assert list(sv.metric_types) == ["eer", "min_dcf_0.01", "min_dcf_0.05"]
    assert [one.percent for one in sv.metric_types.values()] == [True, False, False]
    assert (asr.metric_types["wer"].title, asr.metric_types["wer"].higher_is_better) == ("WER", False)
    assert emotion.metric_types["macro_f1"].higher_is_better


def test_test_parts_are_told_apart() -> None:
    old, new = content("recognition"), read("recognition")
    assert [(score.part, score.metric) for score in new.layers[0].scores] == [
        ("test-a", "wer"), ("test-a", "cer"), ("test-b", "wer"), ("test-b", "cer")
    ]  # fmt: skip
    assert new.primary.part == "test-a"
    assert new.metrics == {"wer": old["metrics"]["wer"], "cer": old["metrics"]["cer"]}
    assert new.layers[0].score("wer", "test-b").value == old["metrics"]["wer_test-b"]
    assert {part: list(metrics) for part, metrics in new.folds[0].metrics.items()} == {
        "test-a": ["wer", "cer"], "test-b": ["wer", "cer"]
    }  # fmt: skip
    assert read("classification").primary.part == read("verification").primary.part == "test"


@pytest.mark.parametrize("name", NAMES)
def test_an_old_record_is_written_and_read_as_a_new_one(name: str, tmp_path: Path) -> None:
    result = read(name)
    write_result(tmp_path / "result.json", result)
    assert json.loads((tmp_path / "result.json").read_bytes())["schema"] == 4
    assert read_result(tmp_path / "result.json") == result


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("classification", ["true class (rows) taken for (columns), %", "unweighted", "dev macro F1", "59.72"]),
        ("recognition", ["word errors", "substitutions", "WER test-b", "seeds", "94.17"]),
        ("sweep", ["development accuracy by learning rate", "accuracy by layer", "standard deviation"]),
        ("verification", ["minDCF 0.01", "EER", "targets"]),
    ],
)
def test_an_old_record_is_shown(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result = read(name)
    said = shown(result, RECORDS, capsys)
    metric = result.metric_types[result.primary.name]
    assert f"{metric.title} {metric.written(result.primary.value)} %" in said
    found = set(re.findall(r"[\w.-]+", said))
    assert not [phrase for phrase in words if not set(re.findall(r"[\w.-]+", phrase)) <= found], said
    assert len(tables_of(result)) >= 3


def test_the_confusions_of_an_old_record_are_shown_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    old = content("classification")
    confusion = np.sum([head["confusion"] for head in old["heads"]], axis=0)
    said = shown(read("classification"), RECORDS, capsys)
    row = next(line for line in said.splitlines() if line.split()[:1] == ["neutral"] and line.split()[-1] == "16")
    assert row.split()[1:] == [*(f"{100 * count / confusion[0].sum():.1f}" for count in confusion[0]), "16"]


def test_old_and_new_records_are_one_table(tmp_path: Path) -> None:
    rows = 0
    for name in NAMES:
        (tmp_path / name).mkdir()
        shutil.copy(RECORDS / f"{name}.json", tmp_path / name / "result.json")
        rows += sum(len(layer.scores) for layer in read(name).layers)
    again = read("verification")
    (tmp_path / "new").mkdir()
    write_result(tmp_path / "new" / "result.json", again)
    table = load_results(tmp_path)
    assert len(table) == rows + len(again.layers[0].scores)
    assert table["is_primary"].sum() == 5
    primary = table[table["is_primary"]].set_index("folder")["value"]
    for name in NAMES:
        assert primary[str(tmp_path / name)] == content(name)["primary"]["value"]
    assert set(table[table["folder"] == str(tmp_path / "sweep")]["layer"]) == {"mix", 0}
    parts = table[table["folder"] == str(tmp_path / "recognition")]["part"]
    assert parts.tolist() == ["test-a", "test-a", "test-b", "test-b"]


@pytest.mark.parametrize("schema", [2, 5, None, "3"])
def test_other_schemas_are_refused(schema: object, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(content("verification") | {"schema": schema}))
    with pytest.raises(UserError, match="is not a record of schema 4"):
        read_result(tmp_path / "result.json")


@pytest.mark.parametrize("lacking", ["primary", "layers", "heads", "recipe", "metrics"])
def test_a_damaged_old_record_is_a_sentence(lacking: str, tmp_path: Path) -> None:
    damaged = {key: value for key, value in content("classification").items() if key != lacking}
    (tmp_path / "result.json").write_text(json.dumps(damaged))
    with pytest.raises(UserError, match=r"result\.json is not a record of schema 4 .*Run the command"):
        read_result(tmp_path / "result.json")
