"""The files from real records: merged folders, copies, refused records, the command, the Python face."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from forgery import forged, set_score
from small_runs import small_run, write_words

import downstream
from downstream.cli.main import main
from downstream.results.record import Result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    corpus, place = write_words(tmp_path_factory.mktemp("words")), tmp_path_factory.mktemp("runs")
    return small_run("class", corpus, place, "sweep.layer=mix")


@pytest.fixture
def results(run: Result, tmp_path: Path) -> Path:
    """A folder with the record of one run."""
    assert run.folder is not None
    shutil.copytree(run.folder, tmp_path / "results" / "emotion" / "one")
    return tmp_path / "results"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["kind"] == "run"]


def test_files_of_a_run(run: Result, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(results), "--to", str(tmp_path / "board"), "--title", "Ours"]) == 0
    said = capsys.readouterr()
    assert "records   1" in said.out
    assert not said.err
    (row,) = rows_of(tmp_path / "board" / "leaderboard.csv")
    assert float(row["value"]) == run.primary.value
    assert row["records"] == "emotion/one"
    assert row["untrained"] == "yes"
    assert "# Ours" in (tmp_path / "board" / "leaderboard.md").read_text()
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert run.command in page
    assert str(tmp_path) not in page, "it does not say whose machine it was"


def test_a_run_in_two_folders_counts_once(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "theirs")
    written = downstream.leaderboard([results, tmp_path / "theirs"], to=tmp_path / "board")
    assert len(written.board.records) == 1
    assert written.board.copies == 1
    assert all(path.is_file() for path in written.files)


def test_a_forged_record_is_refused_by_name_and_the_rest_is_written(
    run: Result, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged(run, results / "emotion" / "forged", lambda content: set_score(content, 0.9876))
    assert main(["leaderboard", str(results), "--to", str(tmp_path / "board")]) == 2
    said = capsys.readouterr().err
    assert "emotion/forged" in said
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert "Records that were left out" in page
    assert "emotion/forged" in page
    assert "<b>98.76</b>" not in page
    (row,) = rows_of(tmp_path / "board" / "leaderboard.csv")
    assert float(row["value"]) == run.primary.value


def test_a_damaged_record_is_refused_and_a_folder_without_records_is_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    assert main(["leaderboard", str(tmp_path / "results"), "--to", str(tmp_path / "board")]) == 0
    assert "No records were found" in capsys.readouterr().out
    (tmp_path / "results" / "result.json").write_text("{")
    assert main(["leaderboard", str(tmp_path / "results"), "--to", str(tmp_path / "board")]) == 2
    assert "is not valid JSON" in capsys.readouterr().err


def test_what_the_user_can_fix_is_said(tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(tmp_path / "nowhere"), "--to", str(tmp_path / "board")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["leaderboard", str(results), "--to", str(tmp_path / "file")]) == 2
    assert "Cannot make the folder" in capsys.readouterr().err
