"""Manifests as spreadsheets and the hub's audio folders have them: other names, separators, commas, metadata files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trees import message, sound, write

from downstream.data.corpora import class_folders, manifest
from downstream.data.corpora.catalog import load_corpus


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("a.wav", "b.wav", "train/c.wav", "test/c.wav"):
        sound(tmp_path / name, seconds=2.0)
    return tmp_path


@pytest.mark.parametrize("column", ["file_name", "Path", "filename", "audio_path", "wav"])
def test_another_name_of_the_path_is_taken_and_said(clips: Path, column: str) -> None:
    write(clips / "manifest.csv", f"{column},label\na.wav,yes\n")
    corpus = manifest.read(clips)
    (only,) = corpus.utterances
    assert (only.id, dict(only.labels)) == ("a.wav", {"label": "yes"})
    assert f"The column {column!r} was taken for the column path." in corpus.notes


def test_a_spreadsheet_of_another_country(clips: Path) -> None:
    write(
        clips / "manifest.csv",
        '\ufeffpath;text;start;duration;rate\na.wav;"gut; ja, 1,5";0,25;1,5;1,5\nb.wav;nein, danke;;,5;\n',
    )
    corpus = manifest.read(clips)
    first, second = corpus.utterances
    assert (first.id, first.text, first.labels["rate"]) == ("a.wav@0.25", "gut; ja, 1,5", "1,5")
    assert (first.audio.start, first.audio.duration) == (0.25, 1.5)
    assert (second.text, second.audio.duration) == ("nein, danke", 0.5)
    write(clips / "segments.csv", "id;start;end\nb.wav;0,125;0,25\n")
    assert manifest.read(clips).utterances[1].segments[0].start == 0.125
    write(clips / "manifest.csv", 'path,start\na.wav,"0,25"\n')
    assert "the start is '0,25'; write seconds" in message(manifest.read, clips)
    write(clips / "manifest.csv", "path;start\na.wav;1.000,25\n")
    assert "the start is '1.000,25'; write seconds" in message(manifest.read, clips)


def test_one_metadata_file_for_all(clips: Path) -> None:
    write(
        clips / "metadata.csv",
        'file_name,transcription,mood,speaker_id\ntrain/c.wav,"well, yes",glad,ann\ntest/c.wav,no,sad,bob\n',
    )
    corpus = manifest.read(clips)
    assert corpus.title == f"{clips.name} (by its metadata.csv)"
    found = [(u.id, u.text, dict(u.labels), u.speaker, u.split) for u in corpus.utterances]
    assert found == [
        ("train/c.wav", "well, yes", {"mood": "glad"}, "ann", "train"),
        ("test/c.wav", "no", {"mood": "sad"}, "bob", "test"),
    ]
    assert "The column 'transcription' was taken for the column text." in corpus.notes
    write(clips / "metadata.csv", "file_name,label\na.wav,x\ntrain/c.wav,y\n")
    assert [u.split for u in manifest.read(clips).utterances] == [None, None]


def test_a_metadata_file_in_each_part(clips: Path) -> None:
    for part in ("train", "test"):
        lines = [{"file_name": "c.wav", "label": 3, "spoken": True, "note": None, "words": ["a", "b"]}]
        write(clips / part / "metadata.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    corpus = manifest.read(clips)
    found = [(u.id, dict(u.labels), u.split) for u in corpus.utterances]
    assert found == [
        ("test/c.wav", {"label": "3", "spoken": "true"}, "test"),
        ("train/c.wav", {"label": "3", "spoken": "true"}, "train"),
    ]
    assert "words of metadata.jsonl holds lists or objects, and was not read." in corpus.notes
    assert "metadata.jsonl was not read; -c manifest reads it." in class_folders.read(clips).notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"file_name": "nowhere.wav"}', "line 1: there is no file"),
        ('\n{"file_name": ""}', "line 2: the path is empty"),
        ('{"file_name": "a.wav"}\n[1]', "line 2 is no object in braces"),
        ('{"file_name": "a.wav"', "line 1"),
        ('{"name": "a.wav"}', "no column path; found name"),
        ("", "no column path; found none"),
    ],
)
def test_malformed_lines_of_json_are_named(clips: Path, text: str, said: str) -> None:
    write(clips / "metadata.jsonl", text)
    assert said in message(manifest.read, clips)


def test_what_to_type_where_another_corpus_was_meant(clips: Path, tmp_path: Path) -> None:
    for name in ("ravdess", "manifest"):
        said = message(load_corpus, name, clips, tmp_path)
        assert (
            "Its subfolders hold recordings (test, train): add -c folder to take them for classes or speakers." in said
        )
    write(clips / "metadata.csv", "file_name\na.wav\n")
    assert "It has a metadata.csv: add -c manifest" in message(load_corpus, "ravdess", clips, tmp_path)
