"""`wavprobe manifest`: what it writes and says, and what it never writes over."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import sound, write

from downstream.cli.main import main
from downstream.data.corpora import manifest


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("up/1.wav", "up/2.wav", "down/1.wav"):
        sound(tmp_path / "clips" / name)
    write(tmp_path / "clips/up/1.txt", "UP")
    return tmp_path / "clips"


def test_it_writes_what_is_sure_and_says_what_to_type(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manifest", str(clips)]) == 0
    assert (clips / "manifest.csv").read_text() == "path,label,text\ndown/1.wav,down,\nup/1.wav,up,UP\nup/2.wav,up,\n"
    said = capsys.readouterr().out
    assert f"{clips}/manifest.csv lists 3 recordings." in said
    assert "label   down 1, up 2" in said
    assert "text    of 1 recording" in said
    assert f"wavprobe run -u wavlm_base -d emotion -c manifest --data {clips}" in said
    assert f"wavprobe run -u wavlm_base -d asr -c manifest --data {clips}" in said
    assert len(manifest.read(clips).utterances) == 3


def test_it_writes_over_nothing_unless_told(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(clips / "manifest.csv", "mine")
    assert main(["manifest", str(clips)]) == 2
    assert "is there already; add --force to write over it" in capsys.readouterr().err
    assert (clips / "manifest.csv").read_text() == "mine"
    assert main(["manifest", str(clips), "--force", "--subfolders", "speaker"]) == 0
    assert {u.speaker for u in manifest.read(clips).utterances} == {"up", "down"}
    assert "-d sv" in capsys.readouterr().out


def test_elsewhere_paths_are_those_that_can_be_read_from_there(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for target in (tmp_path / "manifest.csv", other / "manifest.csv"):
        assert main(["manifest", str(clips), "--to", str(target)]) == 0
        assert len(manifest.read(target.parent).utterances) == 3
    assert main(["manifest", str(clips), "--to", str(other)]) == 2  # a folder is that of its manifest.csv
    assert "\nclips/down/1.wav,down," in (tmp_path / "manifest.csv").read_text()
    assert f"\n{clips}/down/1.wav,down," in (other / "manifest.csv").read_text()
    capsys.readouterr()
    assert main(["manifest", str(clips), "--to", str(other / "list.csv")]) == 0
    assert "It is read as manifest.csv in a folder that --data names: rename it before." in capsys.readouterr().out
    assert main(["manifest", str(clips), "--to", str(tmp_path / "no/manifest.csv")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert main(["manifest", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
