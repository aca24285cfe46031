"""Folders with a manifest.csv, and timed segments in a segments.csv beside it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from places import SHARED_DATA
from trees import message, sound, write

from downstream.data.corpora import MANIFEST_FILE, manifest, segments
from downstream.data.corpora.manifest_table import TIMES
from downstream.data.corpora.segments import segments_csv
from downstream.data.corpus import Corpus, TimedSegment


def test_manifest_with_every_column(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", seconds=1.0)
    elsewhere = sound(tmp_path.parent / f"{tmp_path.name}-elsewhere.wav")
    write(
        tmp_path / "manifest.csv",
        "\ufeffpath,id,speaker,label, room ,text,split,start,duration,group,gender\n"
        'a.wav,first,ann,yes,hall,"well, yes",train,0.25,0.5,g1,F\n'
        f"{elsewhere},,bob,,,,Validation,,,,male\n"
        "a.wav,,ann,no,,,test,0.5,,,other\n",
    )
    corpus = manifest.read(tmp_path)
    first, second, third = corpus.utterances
    assert (first.id, first.speaker, first.text, first.split, first.group) == (
        "first",
        "ann",
        "well, yes",
        "train",
        "g1",
    )
    assert first.labels == {"label": "yes", "room": "hall"}
    assert first.audio.load().shape == (8000,)
    assert (second.id, second.split, second.gender, second.labels) == (str(elsewhere), "dev", "male", {})
    assert second.text is second.group is None
    assert second.audio.load().shape == (160,)
    assert (third.id, third.gender, third.audio.seconds()) == ("a.wav@0.5", None, 0.5)
    assert (corpus.licence, corpus.published, corpus.notes) == ("not stated in the folder", None, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column path; found none"),
        (
            "file,wav\na.wav,a.wav\n",
            "found file, wav. Call the one that names the recordings path: file or wav.",
        ),
        ("start,label\n1,yes\n", "no column path; found start, label. Its first line must name the columns"),
        ("path,label,label\na.wav,x,y\n", "more than one column 'label'"),
        ("path,label\n", "lists no utterance"),
        ("path,label\na.wav,yes\nb.wav,no\n", "line 3: there is no file"),
        ("path,label\n,yes\n", "line 2: the path is empty"),
        ("path,text\na.wav,well, yes\n", "line 2: more cells"),
        ("path,text\na.wav\n", "line 2: fewer cells"),
        ("path,split\na.wav,train\na.wav,eval\n", "line 3: the split is 'eval'; write train, dev or test"),
        ("path,start\na.wav,soon\n", "line 2: the start is 'soon'"),
        ("path,start\na.wav,-1\n", "line 2: the start is '-1'"),
        ("path,duration\na.wav,nan\n", "line 2: the duration is 'nan'"),
        ("path,duration\na.wav,inf\n", "line 2: the duration is 'inf'"),
        ("path,duration\na.wav,0\n", "line 2: the duration is 0"),
        ("path,label\na.wav,yes\na.wav,no\n", "'a.wav' first; ids must be unique"),
        ('path,text\na.wav,"never closed\n', "line 2: the double quote that begins a cell here is never closed"),
        ("path,start,end\na.wav,0.5,0.25\n", "line 2: the utterance starts at 0.5 s and ends at 0.25 s"),
        (
            "path,start,end,duration\na.wav,0,0.5,0.25\n",
            "line 2: the duration is 0.25 s, and from the start to the end",
        ),
        ("path,end,stop\na.wav,1,1\n", "has the columns end and stop, which mean the same"),
        ("path,channel\na.wav,telephone\n", "line 2: the channel is 'telephone'; write its number, from 0 on"),
        ("path,channel\na.wav,-1\n", "line 2: the channel is '-1'"),
    ],
)
def test_malformed_manifests_name_their_line(tmp_path: Path, text: str, said: str) -> None:
    sound(tmp_path / "a.wav")
    write(tmp_path / "manifest.csv", text)
    assert said in message(manifest.read, tmp_path)


def test_manifest_in_another_encoding_or_not_there(tmp_path: Path) -> None:
    assert "There is no manifest.csv in" in message(manifest.read, tmp_path)
    (tmp_path / "manifest.csv").write_bytes("path,text\na.wav,süß\n".encode("latin-1"))
    assert "manifest.csv, line 2: the byte 0xfc is not UTF-8" in message(manifest.read, tmp_path)


def test_manifest_without_speakers_says_so(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    write(tmp_path / "LICENSE.txt", "free")
    write(tmp_path / "manifest.csv", "path\na.wav\n")
    corpus = manifest.read(tmp_path)
    assert corpus.notes == ("1 of 1 utterance names no speaker.",)
    assert corpus.licence == "as its LICENSE.txt states"


def test_an_utterance_ends_where_its_line_says(tmp_path: Path) -> None:
    """By its end or stop as by its duration; both are right where they agree."""
    sound(tmp_path / "a.wav", seconds=1.0)
    for text in (
        "path,start,end\na.wav,0.1,0.5\na.wav,,0.4\n",
        "path,start,stop\na.wav,0.1,0.5\na.wav,,0.4\n",
        "path,start,duration\na.wav,0.1,0.4\na.wav,,0.4\n",
        "path,start,duration,end\na.wav,0.1,0.4,0.5\na.wav,,,0.4\n",
    ):
        write(tmp_path / "manifest.csv", text)
        corpus = manifest.read(tmp_path)
        assert [(u.id, u.audio.start, u.audio.duration, u.labels) for u in corpus.utterances] == [
            ("a.wav@0.1", 0.1, 0.4, {}),
            ("a.wav", None, 0.4, {}),
        ]
        assert [u.audio.load().shape for u in corpus.utterances] == [(6400,), (6400,)]


def test_a_channel_is_heard_alone(tmp_path: Path) -> None:
    left, right = np.full(1600, 0.25), np.full(1600, -0.5)
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], 1), 16_000)
    for first, second in (("0", "1"), ("A", "B"), ("left", "Right")):
        write(tmp_path / "manifest.csv", f"path,speaker,channel\ncall.wav,ann,{first}\ncall.wav,bob,{second}\n")
        rows = manifest.read(tmp_path).utterances
        assert [(u.id, u.speaker, u.labels) for u in rows] == [("call.wav#0", "ann", {}), ("call.wav#1", "bob", {})]
        assert [float(u.audio.load().mean()) for u in rows] == [0.25, -0.5]
        assert rows[0].audio.digest() != rows[1].audio.digest()
    write(tmp_path / "manifest.csv", "path,channel\ncall.wav,1\ncall.wav,2\n")
    assert "has no channel 2" in message(manifest.read(tmp_path).utterances[1].audio.seconds)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        *[("speaker_id", "speaker"), ("spk", "speaker"), ("Start Time", "start")],
        *[
            ("end_time", "end"),
            ("transcript", "text"),
            ("Sex", "gender"),
            ("spliit", "split"),
            ("start_sec", "start"),
            ("End (ms)", "end"),
            ("begin_sample", "start"),
        ],
    ],
)
def test_a_label_column_that_reads_like_another_is_said(tmp_path: Path, column: str, meant: str) -> None:
    sound(tmp_path / "a.wav")
    write(tmp_path / "manifest.csv", f"path,{column}\na.wav,1\n")
    corpus = manifest.read(tmp_path)
    call = f"{meant}, in seconds" if meant in TIMES else meant
    assert f"The column {column!r} was read as labels; if it is the {meant}, call it {call}." in corpus.notes
    assert corpus.utterances[0].labels == {column: "1"}


def test_columns_that_are_labels_are_not_doubted(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    labels = ["label", "emotion", "word", "keyword", "accent", "age", "genre", "room", "digit", "intent", "duration_s"]
    write(tmp_path / "manifest.csv", f"path,speaker,speaker_id,{','.join(labels)}\na.wav,s,7{',x' * len(labels)}\n")
    assert manifest.read(tmp_path).notes == ()


def test_paths_as_windows_and_macos_write_them(tmp_path: Path) -> None:
    sound(tmp_path / "train/ho\u0308her.wav")  # on disk as macOS's archives have it
    sound(tmp_path / "a\\b.wav")
    write(tmp_path / "manifest.csv", "path,label\ntrain\\h\u00f6her.wav,ho\u0308her\na\\b.wav,h\u00f6her\n")
    first, second = manifest.read(tmp_path).utterances
    assert (first.id, first.audio.load().shape) == ("train/h\u00f6her.wav", (160,))
    assert (second.id, second.audio.load().shape) == ("a\\b.wav", (160,))  # a name on Linux
    assert first.labels == second.labels == {"label": "h\u00f6her"}


@pytest.mark.parametrize(
    ("name", "utterances", "speakers", "splits", "labels"),
    [
        ("fsdd", 1260, 6, {"train": 960, "test": 300}, 10),
        ("speechocean762", 1120, 112, {"train": 560, "test": 560}, 0),
        ("speech_commands_v0.01", 302, 41, {"train": 204, "dev": 44, "test": 51, None: 3}, 31),
    ],
)
def test_the_shared_manifests(
    name: str, utterances: int, speakers: int, splits: dict[str | None, int], labels: int
) -> None:
    if not (SHARED_DATA / name).is_dir():
        pytest.skip(f"no shared {name}")
    corpus = manifest.read(SHARED_DATA / name)
    assert len(corpus.utterances) == utterances
    assert len({u.speaker for u in corpus.utterances if u.speaker}) == speakers
    assert Counter(u.split for u in corpus.utterances) == splits
    assert len({u.labels["label"] for u in corpus.utterances if "label" in u.labels}) == labels
    assert corpus.utterances[0].audio.load().ndim == 1


# Timed segments


def meeting(folder: Path, segments: str, manifest_text: str = "path,id\na.wav,first\na.wav,second\nb.wav,\n") -> Path:
    """Two utterances of one recording, one of another, and their segments."""
    sound(folder / "a.wav", seconds=2.0)
    sound(folder / "b.wav", seconds=2.0)
    write(folder / "manifest.csv", manifest_text)
    write(folder / "segments.csv", segments)
    return folder


def segments_of(corpus: Corpus) -> dict[str, tuple[TimedSegment, ...]]:
    return {utterance.id: utterance.segments for utterance in corpus.utterances}


def test_segments_are_read_and_sorted_by_time(tmp_path: Path) -> None:
    meeting(
        tmp_path,
        "\ufeffid, start ,end,speaker,label,text\n"
        'first,1.5,2,bob,,"well, yes"\n'
        "b.wav,0,1e-1,,laughter,\n"
        "first,0.25,1.75,ann,,\n",
    )
    assert segments_of(manifest.read(tmp_path)) == {
        "first": (TimedSegment(0.25, 1.75, "ann"), TimedSegment(1.5, 2.0, "bob", "", "well, yes")),
        "second": (),
        "b.wav": (TimedSegment(0.0, 0.1, label="laughter"),),
    }


def test_segments_need_neither_speaker_nor_label_and_may_name_the_path(tmp_path: Path) -> None:
    meeting(tmp_path, "path,start,end\nb.wav,0.5,1\n", "path,id\na.wav,first\nb.wav,other\n")
    assert segments_of(manifest.read(tmp_path)) == {"first": (), "other": (TimedSegment(0.5, 1.0),)}


def test_a_corpus_without_segments_has_none(tmp_path: Path) -> None:
    meeting(tmp_path, "id,start,end\n")
    assert set(segments_of(manifest.read(tmp_path)).values()) == {()}
    (tmp_path / "segments.csv").unlink()
    assert set(segments_of(manifest.read(tmp_path)).values()) == {()}


def test_segments_are_relative_to_an_utterance_cut_from_its_recording(tmp_path: Path) -> None:
    """The utterance is the second from 0.5 to 1.5 s of its recording; 0.1 s of rounding are accepted at its end."""
    text = "path,id,start,duration\na.wav,cut,0.5,1\n"
    meeting(tmp_path, "id,start,end\ncut,0,1.05\n", text)
    (utterance,) = manifest.read(tmp_path).utterances
    assert (utterance.audio.start, utterance.segments) == (0.5, (TimedSegment(0.0, 1.05),))
    write(tmp_path / "segments.csv", "id,start,end\ncut,0.5,1.5\n")
    said = message(manifest.read, tmp_path)
    assert "segments.csv, line 2: the segment ends at 1.5 s, but 'cut' lasts 1 s" in said
    assert "from the start of the utterance" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column id; found none"),
        ("start,end\n0,1\n", "no column id; found start, end"),
        ("id,path,start,end\nfirst,a.wav,0,1\n", "the columns id and path"),
        ("id,start\nfirst,0\n", "no column end; found id, start"),
        ("id,speaker\nfirst,ann\n", "no column start and no column end"),
        ("id,start,end,lable\nfirst,0,1,x\n", "unknown column 'lable'; did you mean label?"),
        ("id,start,end,start\nfirst,0,1,0\n", "more than one column 'start'"),
        ("id,start,end\nfirst,0,1\nfrist,0,1\n", "line 3: the manifest lists no utterance with the id 'frist'"),
        ("id,start,end\nfrist,0,1\n", "did you mean first? Fix the id or remove the line"),
        ("id,start,end\n,0,1\n", "line 2: the id is empty"),
        ("path,start,end\nc.wav,0,1\n", "line 2: the manifest lists no utterance with the path 'c.wav'"),
        ("path,start,end\na.wav,0,1\n", "line 2: 2 utterances are cut from 'a.wav'; name one of them in a column id"),
        ("id,start,end\nfirst,,1\n", "line 2: the start is empty"),
        ("id,start,end\nfirst,0,\n", "line 2: the end is empty"),
        ("id,start,end\nfirst,0,soon\n", "line 2: the end is 'soon'; write seconds"),
        ("id,start,end\nfirst,-1,1\n", "line 2: the start is '-1'"),
        ("id,start,end\nfirst,0,inf\n", "line 2: the end is 'inf'"),
        ("id,start,end\nfirst,1,1\n", "line 2: the segment starts at 1 s and ends at 1 s; the end must be later"),
        ("id,start,end\nfirst,2,1\n", "starts at 2 s and ends at 1 s"),
        ("id,start,end,text\nfirst,0,1,well, yes\n", "line 2: more cells"),
        ("id,start,end\nfirst,0\n", "line 2: fewer cells"),
        ('id,start,end,text\nfirst,0,1,"never closed\n', "line 2: the double quote that begins a cell"),
    ],
)
def test_malformed_segments_name_their_line(tmp_path: Path, text: str, said: str) -> None:
    meeting(tmp_path, text)
    found = message(manifest.read, tmp_path)
    assert said in found
    assert "segments.csv" in found


def test_segments_that_are_written_are_read_again(tmp_path: Path) -> None:
    first = (TimedSegment(0.0, 0.125, "ann", "x", 'say "a, b"'), TimedSegment(0.1, 2.0))
    meeting(tmp_path, segments_csv(("first", segment) for segment in first).decode())
    assert segments_of(manifest.read(tmp_path))["first"] == first


@pytest.mark.parametrize("name", [MANIFEST_FILE, segments.FILE_NAME])
def test_a_table_that_is_no_file_is_said(tmp_path: Path, name: str) -> None:
    """A pipe would wait for ever; a link to nothing would pass for a table that is not there."""
    meeting(tmp_path, "id,start,end\n")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert f"{name} is a pipe, not a file" in message(manifest.read, tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere.csv")
    assert f"{name} is a link to" in message(manifest.read, tmp_path)


def test_a_spreadsheet_may_write_its_columns_with_capitals(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    write(tmp_path / "manifest.csv", "\ufeffPath;Speaker;Label;Start;END;Split\r\na.wav;ann;yes;0,1;0,25;Train\r\n")
    corpus = manifest.read(tmp_path)
    (one,) = corpus.utterances
    assert (one.speaker, one.split, one.labels) == ("ann", "train", {"Label": "yes"})
    assert (one.audio.start, one.audio.duration) == (0.1, 0.15)
    assert "The column 'END' was taken for the column end." in corpus.notes
    write(tmp_path / "manifest.csv", "path,speaker,Speaker\na.wav,ann,loud\n")  # both are there
    assert [(u.speaker, u.labels) for u in manifest.read(tmp_path).utterances] == [("ann", {"Speaker": "loud"})]
