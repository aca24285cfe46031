"""Whole runs on a folder of classes, without a manifest, a speaker or a split: what they say of themselves."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tones import write_emotions

from downstream.cli.main import main
from downstream.results import Result, read_result

SHORT = ("-o", "training.steps=60", "-o", "training.evaluate_every=30")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tones of small runs, in a subfolder for each emotion."""
    listed, folder = (tmp_path_factory.mktemp(name) for name in ("listed", "clips"))
    with (write_emotions(listed) / "manifest.csv").open() as lines:
        for row in csv.DictReader(lines):
            (folder / row["emotion"]).mkdir(exist_ok=True)
            (listed / row["path"]).rename(folder / row["emotion"] / row["path"])
    return folder


def ran(corpus: str, clips: Path, place: Path, *more: str) -> Result:
    command = ["run", "-u", "fbank_no_cmvn", "-d", "emotion", "-c", corpus, "--data", str(clips), *SHORT, *more]
    assert main([*command, "--results", str(place), "--store", str(clips.parent / "store")]) == 0
    (path,) = place.rglob("result.json")
    return read_result(path)


def test_a_folder_of_classes_gets_a_score_that_claims_no_more_than_it_can(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ran("folder", clips, tmp_path)
    assert result.primary.value > 0.9
    assert "test utterances (jackknife)" in result.primary.interval
    assert result.corpus.speaker_disjoint is False
    assert result.corpus.used.speakers == 0
    assert result.corpus.split_rule.startswith("5 folds over 72 clips dealt in turn class by class")
    assert [fold.test.utterances for fold in result.folds] == [15, 15, 14, 14, 14]
    assert all(min(fold.test.labels.values()) >= 4 for fold in result.folds)
    (caveat,) = result.caveats
    assert caveat.startswith("No utterance names its speaker: training and test may share speakers")
    shown = capsys.readouterr().out
    assert "speaker-disjoint" not in shown
    assert "Emotion recognition, speakers may be shared by training and test" in shown
    assert "over 72 test utterances; chance" in shown
    assert "speakers not known" in shown


def test_the_manifest_that_is_written_of_it_gives_the_same_heads(clips: Path, tmp_path: Path) -> None:
    assert main(["manifest", str(clips), "--to", str(clips.parent / "manifest.csv")]) == 0
    by_folder = ran("folder", clips, tmp_path / "folder")
    (clips.parent / "manifest.csv").rename(clips / "manifest.csv")
    rows = (clips / "manifest.csv").read_text().replace(f"{clips.name}/", "")
    (clips / "manifest.csv").write_text(rows)
    by_manifest = ran("manifest", clips, tmp_path / "manifest")
    (clips / "manifest.csv").unlink()
    assert by_manifest.corpus.fingerprint == by_folder.corpus.fingerprint
    assert [fold.metrics for fold in by_manifest.folds] == [fold.metrics for fold in by_folder.folds]


def test_another_seed_of_the_split_is_another_division(clips: Path, tmp_path: Path) -> None:
    first, again, other = (
        ran("folder", clips, tmp_path / name, "-o", "split.rule=published", *more)
        for name, more in (("first", []), ("again", ["-o", "split.seed=0"]), ("other", ["-o", "split.seed=1"]))
    )
    assert first.learned == again.learned != other.learned
    assert "drawn with seed 1" in other.corpus.split_rule
    (fold,) = first.folds
    assert (fold.train.utterances, fold.dev.utterances, fold.test.utterances) == (60, 6, 6)
    assert fold.test.labels == {"high": 2, "low": 2, "middle": 2}


def test_known_speakers_keep_the_claim(tmp_path: Path) -> None:
    folder = tmp_path / "listed"
    folder.mkdir()
    result = ran("manifest", write_emotions(folder), tmp_path / "results")
    assert result.title == "Emotion recognition, speaker-disjoint"
    assert result.corpus.speaker_disjoint
    assert result.caveats == []
    assert "test speakers (jackknife)" in result.primary.interval
