"""Records of others never bring code to run: a family from outside is imported where the user names its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from downstream.cli.main import main

RECORDS = Path(__file__).parents[1] / "results" / "schema3"
CODE = """from pathlib import Path

from downstream.tasks.classification import Classification

(Path(__file__).parent / "ran").touch()


class Strange(Classification):
    hub_task = "strange"
"""


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two records of a stranger, each with the file that it names beside it."""
    folders = [tmp_path / "theirs" / name for name in ("one", "two")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        record = json.loads((RECORDS / "classification.json").read_text())
        record["task"] = record["recipe"]["resolved"]["task"] = "strange.py:Strange"
        record["upstream"]["random_init"] = False
        record["upstream"]["fingerprint"] = str(number)
        (folder / "result.json").write_text(json.dumps(record))
        (folder / "strange.py").write_text(CODE)
    return list(map(str, folders))


def said_by(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    main(words)
    shown = capsys.readouterr()
    return shown.out + shown.err


def ran(runs: list[str]) -> list[str]:
    return [run for run in runs if (Path(run) / "ran").exists()]


def test_no_verb_imports_what_a_record_names(
    runs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["compare", *runs], ["compare", "theirs"], ["plot", runs[0]], ["export", runs[0], "card.md"]):
        assert "--family PATH/strange.py:Strange" in said_by(words, capsys) + caplog.text, words
        caplog.clear()
    for words in (["leaderboard", "theirs"], ["validate", *runs], ["export", "theirs", "table.tex"]):
        said_by(words, capsys)
    assert ran(runs) == []


def test_the_file_that_the_user_names_is_imported(
    runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("downstream.tasks.registry.TRUSTED", {})
    assert main(["export", runs[1], "card.md", "--family", f"{runs[0]}/strange.py:Strange"]) == 0
    assert "type: strange" in Path("card.md").read_text()
    assert ran(runs) == runs[:1]
    assert main(["compare", *runs, "--family", "absent.py:Strange"]) == 2
    assert "There is no file absent.py" in capsys.readouterr().err
