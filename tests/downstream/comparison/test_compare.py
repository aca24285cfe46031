"""Runs are compared item by item; those of other tests are refused, and it is said what differs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from forgery import forged
from small_runs import FAMILIES, small_run, write_words

import downstream
from downstream.cli.main import main
from downstream.comparison import compare_runs
from downstream.results import Result
from upstream.errors import UserError

SHORT = {"text": ("training.steps=4", "training.evaluate_every=2"), "class": ("sweep.layer=all",)}
OTHER = {
    "class": ("optimizer.lr=1e-3", "sweep.seed=[5]"),
    "text": ("training.steps=6",),
    "speaker": ("head.projection=4", "sweep.seed=[5,6,7]"),
    "fitted": ("head.kind=lda",),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, tuple[Result, Result]]:
    """Two runs of every family on the same corpus."""
    write_words(place)
    return {
        family: (
            small_run(family, place, place / "one", *SHORT.get(family, ())),
            small_run(family, place, place / "two", *SHORT.get(family, ()), *OTHER[family]),
        )
        for family in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_compared(runs: dict[str, tuple[Result, Result]], family: str) -> None:
    one, other = runs[family]
    (found,) = downstream.compare(one, other)
    assert found.difference.value == pytest.approx(one.primary.value - other.primary.value)
    assert found.tested == "2 test speakers"
    assert found.labels[0] != found.labels[1]
    assert math.isnan(found.p) or 0 <= found.p <= 1
    (row,) = downstream.compare(other, one).to_frame().to_dict("records")
    assert row["difference"] == pytest.approx(-found.difference.value)
    assert (row["a_value"], row["b_value"]) == (other.primary.value, one.primary.value)


def test_layers_of_one_run_are_compared(runs: dict[str, tuple[Result, Result]]) -> None:
    run = runs["class"][0]
    found = downstream.compare(run, layers=["mix", 0, 2])
    assert [one.labels for one in found][1] == ("wavlm_nano, untrained, weighted sum", "wavlm_nano, untrained, layer 2")
    assert all(one.p_holm >= one.p for one in found)
    with pytest.raises(UserError, match=r"no score of the layer '99'. It has mix, 0, 1"):
        downstream.compare(run, layers=["mix", 99])
    with pytest.raises(UserError, match="two layers of it"):
        downstream.compare(run)
    with pytest.raises(UserError, match="named twice"):
        downstream.compare(run, run)


def test_other_metrics_are_chosen(runs: dict[str, tuple[Result, Result]]) -> None:
    (found,) = downstream.compare(*runs["text"], metric="cer")
    assert found.title.endswith("CER")
    with pytest.raises(UserError, match="Did you mean macro_f1"):
        downstream.compare(*runs["class"], metric="macrof1")


def test_other_families_and_corpora_are_refused(runs: dict[str, tuple[Result, Result]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one is of the task"):
        downstream.compare(runs["class"][0], runs["text"][0])
    (tmp_path / "other").mkdir()
    write_words(tmp_path / "other")
    table = (tmp_path / "other" / "manifest.csv").read_text()
    kept = [line for line in table.splitlines() if not line.startswith("g1-A.wav")]
    (tmp_path / "other" / "manifest.csv").write_text("\n".join(kept) + "\n")
    fewer = small_run("fitted", tmp_path / "other", tmp_path)
    with pytest.raises(
        UserError, match=r"are in the first alone \(f0-A.wav g1-A.wav, .*, …\), and \d+ are in the second alone"
    ):
        downstream.compare(runs["fitted"][0], fewer)


def test_equal_names_of_other_recordings_are_refused(
    runs: dict[str, tuple[Result, Result]], place: Path, tmp_path: Path
) -> None:
    """The effect changes every recording, and no name."""
    louder = small_run("fitted", place, tmp_path, "corpus.effects.gain=-6")
    with pytest.raises(UserError, match=r"same names and truths, but the corpora differ .*fingerprint"):
        downstream.compare(runs["fitted"][0], louder)


@pytest.fixture
def copied(runs: dict[str, tuple[Result, Result]], tmp_path: Path) -> Path:
    """A copy of a run's folder, to be spoilt."""
    folder = runs["class"][0].folder
    assert folder is not None
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_changed_and_missing_predictions_are_refused(runs: dict[str, tuple[Result, Result]], copied: Path) -> None:
    path = copied / "predictions.jsonl"
    path.write_text(path.read_text().replace('"f0-A.wav"', '"f9-A.wav"'))
    with pytest.raises(UserError, match=r"copy/result.json contradicts itself: predictions.jsonl changed"):
        compare_runs([copied, runs["class"][1]])
    path.unlink()
    with pytest.raises(UserError, match=r"predictions.jsonl cannot be read"):
        compare_runs([copied, runs["class"][1]])


def test_a_record_that_contradicts_itself_is_refused(runs: dict[str, tuple[Result, Result]], tmp_path: Path) -> None:
    """Its predictions give its scores; what it says of its upstream is another's."""
    one, other = runs["class"]
    forged(one, tmp_path / "forged", lambda content: content["upstream"].update(random_init=False))
    with pytest.raises(UserError, match=r"forged/result.json contradicts itself: .* it calls its upstream trained"):
        compare_runs([tmp_path / "forged", other])


def test_folders_of_results_are_compared_task_by_task(
    runs: dict[str, tuple[Result, Result]], place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["compare", str(place / "one"), str(place / "two"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    found = {(one["recipe"], one["metric"]) for one in content["comparisons"]}
    assert found == {("emotion", "accuracy"), ("asr", "wer"), ("sv", "eer"), ("sv_xvector", "eer")}
    assert main(["compare", str(place / "one"), str(place / "two"), "--csv", str(tmp_path / "table.csv")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("verdict ") == len(content["comparisons"])
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 1 + len(content["comparisons"])


def test_one_folder_of_results_compares_its_upstreams(runs: dict[str, tuple[Result, Result]], place: Path) -> None:
    """The runs of a family below it are of one upstream, so that nothing has a partner."""
    with pytest.raises(UserError, match="has no partner"):
        compare_runs([place / "one"])


def test_what_is_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for named, said in (("empty", "no result.json in"), ("nowhere", "no file or folder")):
        assert main(["compare", str(tmp_path / named), str(tmp_path / named)]) == 2
        assert said in capsys.readouterr().err
