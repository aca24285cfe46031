"""Folders without a manifest: what subfolders, parts and files beside the recordings tell, and what is left out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from trees import message, sound, write

from downstream.data.corpora import class_folders, manifest
from downstream.data.corpora.class_folders import manifest_csv
from downstream.data.corpora.folder_scan import Levels, scan_folder
from downstream.data.corpus import Corpus


def told(corpus: Corpus) -> list[tuple[str, str | None, str | None, str | None]]:
    """Id, label, part and transcript of every utterance."""
    return [(u.id, u.labels.get("label"), u.split, u.text) for u in corpus.utterances]


def made(folder: Path, *names: str) -> Path:
    for name in names:
        sound(folder / name)
    return folder


def test_a_subfolder_is_the_class_of_all_below_it(tmp_path: Path) -> None:
    made(tmp_path, "happy/1.wav", "happy/ann/2.flac", "sad/1.WAV", "loose.wav")
    corpus = class_folders.read(tmp_path)
    assert told(corpus) == [
        ("loose.wav", None, None, None),
        ("happy/1.wav", "happy", None, None),
        ("happy/ann/2.flac", "happy", None, None),
        ("sad/1.WAV", "sad", None, None),
    ]
    assert {u.speaker for u in corpus.utterances} == {""}
    assert (corpus.name, corpus.title) == ("folder", f"{tmp_path.name} (by its subfolders)")
    assert corpus.notes == ("Folders below the subfolders tell nothing: happy/ann.",)


@pytest.mark.parametrize(
    ("folders", "cells"),
    [
        (["train/happy", "test/sad"], [{"split": "train", "label": "happy"}, {"split": "test", "label": "sad"}]),
        (["Training/a", "validation/b"], [{"split": "Training", "label": "a"}, {"split": "validation", "label": "b"}]),
        (["happy/train", "sad/test"], [{"split": "train", "label": "happy"}, {"split": "test", "label": "sad"}]),
        (["clips/wav/happy", "clips/wav/sad"], [{"label": "happy"}, {"label": "sad"}]),
        (["data/train/a", "data/train/b"], [{"split": "train", "label": "a"}, {"split": "train", "label": "b"}]),
        (["train", "test"], [{"split": "train"}, {"split": "test"}]),
        # Vehicles: a class may be called as a part is.
        (["train", "bus"], [{"label": "train"}, {"label": "bus"}]),
        (["train/1", "bus/1"], [{"label": "train"}, {"label": "bus"}]),
        (["happy", "happy/sad"], [{"label": "happy"}, {"label": "happy"}]),
        ([".", "."], [{}, {}]),
    ],
)  # fmt: skip
def test_levels_of_folders(folders: Sequence[str], cells: Sequence[dict[str, str]]) -> None:
    above = [Path(name).parts for name in folders]
    assert [Levels.of(above).cells(own) for own in above] == cells


def test_transcripts_lie_beside_their_recordings(tmp_path: Path) -> None:
    made(tmp_path, "a/1.wav", "a/2.wav", "a/3.wav", "a/4.wav", "a/5.wav", "b/1.wav")
    write(tmp_path / "a/1.txt", "\ufeffwell,\r\n  then \n")
    write(tmp_path / "a/2.lab", "HELLO")
    write(tmp_path / "a/3.txt", " \n")
    (tmp_path / "a/4.txt").write_bytes("für".encode("latin-1"))
    write(tmp_path / "a/5.lab", "0 100000 sil\n100000 200000 ah\n")
    write(tmp_path / "a/README.txt", "no transcript")
    corpus = class_folders.read(tmp_path)
    assert [text for *_, text in told(corpus)] == ["well, then", "HELLO", None, None, None, None]
    fault, timed = corpus.notes
    assert fault.startswith("1 transcript could not be read. ")
    assert "4.txt, line 1: the byte 0xfc is not UTF-8" in fault
    assert timed == "1 file was left out, whose lines have times, so that they are no transcripts: 5.lab."


def test_what_is_no_recording_of_its_own_is_left_out_and_said(tmp_path: Path) -> None:
    made(tmp_path, "up/1.wav", "up/._1.wav", "down/1.wav", ".git/x/1.wav", "__MACOSX/up/1.wav")
    sound(tmp_path / "up/2.flac")
    (tmp_path / "up/1.mp3").write_bytes(b"the same again")
    (tmp_path / "empty").mkdir()
    (tmp_path / "up/gone.wav").symlink_to("nowhere.wav")
    corpus = class_folders.read(tmp_path)
    assert [u.id for u in corpus.utterances] == ["down/1.wav", "up/1.wav", "up/2.flac"]
    assert corpus.notes == (
        "1 file was left out, which lie beside a recording of the same name in another format: 1.mp3.",
        "1 file was left out, hidden, as those in which macOS keeps what is no sound: ._1.wav.",
        "1 file was left out, links that lead nowhere, or no files: gone.wav.",
        "No recording that is read lies in empty.",
    )


def test_a_folder_without_recordings_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    write(tmp_path / "up/notes.txt", "nothing")
    assert "There is no recording (.wav, .flac, .mp3 and" in message(class_folders.read, tmp_path)
    assert "found up." in message(class_folders.read, tmp_path)
    write(tmp_path / "manifest.csv", "path\n")
    assert "It has a manifest.csv: add -c manifest to read that." in message(class_folders.read, tmp_path)
    assert "does not exist" in message(class_folders.read, tmp_path / "nowhere")


NAMES = ["=cmd|'!A1", "a,b", 'say "hi"', "Käse été", "semi;colon", "100%", "-1", "'quoted'", "two  blanks", "#1"]


def test_a_written_manifest_is_read_as_the_folder_was(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        sound(tmp_path / ("test" if number % 2 else "train") / name / f"{name}.wav")
        write(tmp_path / ("test" if number % 2 else "train") / name / f"{name}.txt", f"{name}; and, {number}")
    by_folder = class_folders.read(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(manifest_csv(scan_folder(tmp_path).rows))
    by_manifest = manifest.read(tmp_path)
    assert by_manifest.utterances == by_folder.utterances
    assert [label for _, label, *_ in told(by_manifest)] == sorted(NAMES[1::2]) + sorted(NAMES[::2])


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of other systems refuse such names")
@pytest.mark.parametrize("name", [b" 1.wav", b"a\nb.wav", b"\xff.wav"])
def test_names_that_no_line_can_hold_are_refused(tmp_path: Path, name: bytes) -> None:
    sound(tmp_path / "1.wav")
    (tmp_path / "1.wav").rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    assert len(class_folders.read(tmp_path).utterances) == 1
    assert "cannot stand in a table" in message(manifest_csv, scan_folder(tmp_path).rows)
