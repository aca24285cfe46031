"""Own recordings from Python: tables of pandas, of dicts and of datasets, with audio in files and in memory."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
import soundfile
import torch
from trees import message

from downstream.data.corpora import manifest
from downstream.data.corpora.catalog import load_corpus
from downstream.data.corpora.table import corpus_of
from downstream.data.corpus import Corpus

RATE = 16_000
TONE = (np.sin(np.arange(3_200) / 9) * 12_000).astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings; b is in stereo."""
    soundfile.write(tmp_path / "a.wav", TONE, RATE)
    soundfile.write(tmp_path / "b.wav", np.stack([TONE, TONE // 2], 1), RATE)
    soundfile.write(tmp_path / "c.wav", TONE[::-1], RATE)
    return tmp_path


def content(path: Path) -> dict[str, Any]:
    """A recording as datasets has it."""
    return {"path": path.name, "bytes": path.read_bytes()}


def encoded_dataset(folder: Path, **columns: list[Any]) -> datasets.Dataset:
    """A Dataset of a, b and c with their bytes, as the hub has them."""
    table = {"audio": [content(folder / f"{name}.wav") for name in "abc"], **columns}
    return datasets.Dataset.from_dict(table).cast_column("audio", datasets.Audio())


def digests(corpus: Corpus) -> list[str]:
    return [utterance.audio.digest() for utterance in corpus.utterances]


# ---------------------------------------------------------------- the same rows everywhere


def test_a_table_is_read_as_a_manifest_with_its_cells(folder: Path) -> None:
    text = (
        "path,id,speaker,label,text,split,start,duration,channel,group,gender\n"
        "a.wav,first,1,yes,well,train,0.05,0.1,,g1,F\n"
        "b.wav,,2,no,,validation,,,1,g2,male\n"
        "c.wav,,2,,oh,test-noisy,0.1,,,,\n"
    )
    (folder / "manifest.csv").write_text(text)
    expected = manifest.read(folder)
    frame = pandas.read_csv(folder / "manifest.csv")
    assert frame.channel.dtype == frame.speaker.dtype.name.replace("int", "float")  # 1.0, since one is missing
    rows = frame.to_dict("records")
    rows[0] = {name: cell for name, cell in rows[0].items() if name != "channel"}
    for content_ in (frame, rows, datasets.Dataset.from_pandas(frame)):
        corpus = corpus_of(content_, folder)
        assert corpus.utterances == expected.utterances
        assert digests(corpus) == digests(expected)
        assert (corpus.name, corpus.source) == ("table", str(folder))
    assert corpus_of(frame, folder).title == "3 rows of a DataFrame"
    assert corpus_of(frame, folder, "My words").title == "My words"


def test_paths_are_relative_to_the_working_directory_without_a_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for rows in (
        [{"path": "a.wav"}],
        [{"path": Path("a.wav")}],
        [{"audio": "a.wav"}],
        [{"audio": {"path": "a.wav", "bytes": None}}],
    ):
        corpus = corpus_of(rows)
        assert [u.id for u in corpus.utterances] == ["a.wav"]
        assert len(corpus.utterances[0].audio.load()) == len(TONE)
        assert corpus.source == "memory"
    assert "paths are relative to" in message(corpus_of, [{"path": "elsewhere/a.wav"}])


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pandas.NA, pandas.NaT, ""])
def test_what_is_missing_is_not_given(missing: object, folder: Path) -> None:
    row = {"path": "a.wav", "audio": missing, "speaker": missing, "text": missing, "split": missing, "start": missing}
    for table in ([row | {"label": missing}], pandas.DataFrame([row | {"label": missing}])):
        (one,) = corpus_of(table, folder).utterances
        assert (one.id, one.speaker, one.text, one.split, one.audio.start, one.labels) == (
            "a.wav", "", None, None, None, {}
        )  # fmt: skip


def test_columns_may_have_capitals(folder: Path) -> None:
    row = {"Audio": TONE, "Sampling_Rate": RATE, "Speaker": "ann", "Label": "yes"}
    (one,) = corpus_of(pandas.DataFrame({name: [cell] for name, cell in row.items()})).utterances
    assert (one.speaker, one.labels) == ("ann", {"Label": "yes"})


def test_labels_are_text_whatever_they_were(folder: Path) -> None:
    cells = [3, np.int64(3), 3.0, 0.5, np.float32(0.1), True, np.bool_(False), "x ", 10**20]
    rows = [{"path": "a.wav", "id": str(number), "label": cell} for number, cell in enumerate(cells)]
    found = [u.labels["label"] for u in corpus_of(rows, folder).utterances]
    assert found == ["3", "3", "3", "0.5", "0.1", "True", "False", "x", str(10**20)]
    frame = pandas.DataFrame({"path": ["a.wav", "b.wav"], "label": pandas.Categorical(["yes", None])})
    assert [u.labels for u in corpus_of(frame, folder).utterances] == [{"label": "yes"}, {}]


# ---------------------------------------------------------------- audio in memory

FORMS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "bytes": lambda path: {"audio": path.read_bytes()},
    "a file in memory": lambda path: {"audio": io.BytesIO(path.read_bytes())},
    "bytes and a path": lambda path: {"audio": content(path)},
    "16 bits": lambda path: {"audio": soundfile.read(path, dtype="int16")[0], "sampling_rate": RATE},
    "array": lambda path: {"audio": {"array": soundfile.read(path, dtype="int16")[0], "sampling_rate": RATE}},
    "tensor": lambda path: {"audio": torch.tensor(soundfile.read(path, dtype="int16")[0].T), "sampling_rate": 16_000.0},
}


@pytest.mark.parametrize("form", FORMS)
def test_audio_in_memory_is_that_of_a_file(form: str, folder: Path) -> None:
    """Of the same digest, so that the store has its states."""
    for name in ("a.wav", "b.wav"):
        row = FORMS[form](folder / name)
        (listed,) = corpus_of([{"path": name}], folder).utterances
        for table in ([row], pandas.DataFrame([row])):
            (held,) = corpus_of(table).utterances
            assert held.audio.digest() == listed.audio.digest()
            assert torch.equal(held.audio.load(), listed.audio.load())
            assert held.audio.seconds() == listed.audio.seconds()


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32, torch.float16, list])
def test_floats_are_heard_as_they_are(kind: Any) -> None:
    wave = (np.sin(np.arange(1_600) / 9) * 0.5).astype(np.float16).astype(np.float32)
    if isinstance(kind, torch.dtype):
        cell: Any = torch.from_numpy(wave).to(kind).requires_grad_()
    else:
        cell = wave.tolist() if kind is list else wave.astype(kind)
    (one,) = corpus_of([{"audio": cell, "sampling_rate": RATE}]).utterances
    assert torch.equal(one.audio.load(), torch.from_numpy(wave))
    (other,) = corpus_of([{"audio": wave * 0.5, "sampling_rate": RATE}]).utterances
    assert one.audio.digest() != other.audio.digest()
    (faster,) = corpus_of([{"audio": cell, "sampling_rate": 8_000}]).utterances
    assert faster.audio.seconds() == 2 * one.audio.seconds()


def test_parts_of_one_array_are_one_recording() -> None:
    call = np.stack([TONE, TONE // 2])  # (C, S), as torchaudio has it
    rows = [
        {"audio": call, "sampling_rate": RATE, "start": start, "duration": 0.05, "channel": 1} for start in (0, 0.1)
    ]
    first, second = corpus_of(rows).utterances
    assert first.audio.recording is second.audio.recording
    assert torch.equal(second.audio.load(), torch.from_numpy((TONE // 2)[1_600:2_400] / np.float32(2**15)))


def test_rows_without_a_name_of_their_own_are_called_by_their_numbers() -> None:
    rows = [
        {"audio": {"array": TONE, "sampling_rate": RATE, "path": name}} for name in ("x.wav", "audio.wav", "audio.wav")
    ]
    rows += [{"audio": {"array": TONE, "sampling_rate": RATE}}]
    assert [u.id for u in corpus_of(rows).utterances] == ["x.wav", "audio.wav (row 1)", "audio.wav (row 2)", "row 3"]
    named = [row | {"id": "u"} for row in rows]
    assert "'u' first; ids must be unique" in message(corpus_of, named)


# ---------------------------------------------------------------- datasets


def test_a_dataset_gives_classes_by_name_and_audio_from_its_rows(folder: Path) -> None:
    rows = encoded_dataset(folder, label=[1, 0, -1], words=[["a"], [], ["b"]], speaker_id=[7, 7, 8])
    rows = rows.cast_column("label", datasets.ClassLabel(names=["no", "yes"]))
    listed = corpus_of([{"path": f"{name}.wav"} for name in "abc"], folder)
    shuffled = rows.select([2, 0, 1]).with_format("torch")
    for table, order in ((rows, [0, 1, 2]), (shuffled, [2, 0, 1])):
        corpus = corpus_of(table)
        assert [u.id for u in corpus.utterances] == [f"{'abc'[i]}.wav" for i in order]
        assert [u.labels.get("label") for u in corpus.utterances] == [["yes", "no", None][i] for i in order]
        assert digests(corpus) == [digests(listed)[i] for i in order]
        assert torch.equal(corpus.utterances[0].audio.load(), listed.utterances[order[0]].audio.load())
        unread, hint = corpus.notes[:2]
        assert unread == "Columns that hold no single text or number were not read: words."
        assert hint == "The column 'speaker_id' was read as labels; if it is the speaker, call it speaker."


def test_a_dataset_may_refer_to_files(folder: Path) -> None:
    paths = [str(folder / f"{name}.wav") for name in "abc"]
    mixed = [{"path": paths[0], "bytes": None}, content(folder / "b.wav"), {"path": "c.wav", "bytes": None}]
    listed = corpus_of([{"path": f"{name}.wav"} for name in "abc"], folder)
    for table in (
        datasets.Dataset.from_dict({"audio": paths}),
        datasets.Dataset.from_dict({"audio": paths}).cast_column("audio", datasets.Audio(decode=False)),
        datasets.Dataset.from_dict({"speech": mixed}).cast_column("speech", datasets.Audio(sampling_rate=8_000)),
        datasets.Dataset.from_dict({"file": paths, "path": paths}),
    ):
        assert digests(corpus_of(table, folder)) == digests(listed)


@pytest.mark.parametrize("kind", ["int16", "float32", "float64"])
def test_a_dataset_may_hold_samples(kind: str, folder: Path) -> None:
    samples = TONE if kind == "int16" else (TONE / 2**15).astype(kind)
    expected = torch.from_numpy(TONE / np.float32(2**15))
    for table in (
        datasets.Dataset.from_list([{"audio": {"array": samples, "sampling_rate": RATE}}]),
        datasets.Dataset.from_dict({"audio": [samples], "sampling_rate": [RATE]}),
    ):
        (one,) = corpus_of(table).utterances
        assert one.id == "row 0"
        assert torch.equal(one.audio.load(), expected)
        assert kind != "int16" or one.audio.digest() == digests(corpus_of([{"path": "a.wav"}], folder))[0]


def test_a_dataset_may_hold_bytes_that_nobody_called_audio(folder: Path) -> None:
    held = content(folder / "a.wav")
    for cells, name in (([held["bytes"]], "row 0"), ([held], "a.wav"), ([{"bytes": held["bytes"]}], "row 0")):
        (one,) = corpus_of(datasets.Dataset.from_list([{"audio": cells[0]}])).utterances
        assert one.id == name
        assert one.audio.digest() == digests(corpus_of([{"path": "a.wav"}], folder))[0]
    absent = datasets.Dataset.from_list([{"audio": held}, {"audio": None}])
    assert "row 1 of the Dataset: neither path nor audio is given" in message(corpus_of, absent)


def test_the_parts_of_a_dataset_dict_are_the_split(folder: Path) -> None:
    rows = encoded_dataset(folder)
    parts = {"train": rows, "validation": rows.select([0]), "test.clean": rows.select([1])}
    corpus = corpus_of(datasets.DatasetDict(parts))
    assert [(u.id, u.split, u.part) for u in corpus.utterances] == [
        ("a.wav (train[0])", "train", None),
        ("b.wav (train[1])", "train", None),
        ("c.wav", "train", None),
        ("a.wav (validation[0])", "dev", None),
        ("b.wav (test.clean[0])", "test", "test.clean"),
    ]
    assert corpus.title == "5 rows of a DatasetDict"
    alone = corpus_of(datasets.DatasetDict({"train": rows}))  # as `load_dataset` gives what has no parts
    assert {u.split for u in alone.utterances} == {None}
    own = rows.add_column("split", ["train", "dev", "test"])
    given = corpus_of(datasets.DatasetDict({"all": own}))
    assert [u.split for u in given.utterances] == ["train", "dev", "test"]
    assert "train[0] of the DatasetDict: the split is 'half'" in message(
        corpus_of, datasets.DatasetDict({"train": rows.add_column("split", ["half", "", ""]), "test": rows})
    )


# ---------------------------------------------------------------- refused


def indexed() -> pandas.DataFrame:
    return pandas.DataFrame({"path": ["a.wav", "x.wav"]}, index=["first", "second"])


@pytest.mark.parametrize(
    ("content_", "said"),
    [
        ([], "The list has no rows"),
        (pandas.DataFrame({"path": []}), "The DataFrame has no rows"),
        (datasets.Dataset.from_dict({"path": ["a.wav"]}).data.table, "corpus is a pyarrow.Table"),
        (7, "corpus is a int; give the name of a corpus or a table, which is a pandas DataFrame"),
        ({"path": ["a.wav"]}, "Of a dict of columns make one: pandas.DataFrame(columns)"),
        (Path("data"), "data=PATH and corpus='manifest'"),
        (["a.wav"], "row 0 is a str; make each row a dict"),
        ([{"path": "a.wav"}, {"path": "x.wav"}], "row 1 of the list: there is no file"),
        (indexed(), "row 1 (index 'second') of the DataFrame: there is no file"),
        ([{"label": "x", "file": "a.wav"}], "no column path and none audio; found label, file. If 'file' names the"),
        ([{"label": "x"}], "Name the recordings in one"),
        ([{"path": "", "label": "x"}], "row 0 of the list: neither path nor audio is given"),
        ([{"path": "a.wav", "end": 1, "stop": 1}], "has the columns end and stop"),
        ([{"path": "a.wav", "start": "soon"}], "row 0 of the list: the start is 'soon'"),
        ([{"path": "a.wav", "split": "eval"}], "row 0 of the list: the split is 'eval'"),
        ([{"path": "a.wav", "channel": 1.5}], "row 0 of the list: the channel is '1.5'"),
        ([{"path": "a.wav", "speaker": ["ann"]}], "row 0 of the list: the speaker is a list; give text or a number"),
        ([{"path": "a.wav", 3: "x"}], "has a column 3, whose name is no text"),
        ([{"path": "a.wav", " path": "x"}], "more than one column 'path'"),
        (pandas.DataFrame([["a.wav", 1, 2]], columns=["path", "x", "x"]), "more than one column 'x'"),
        (pandas.DataFrame([["a.wav"]], columns=pandas.MultiIndex.from_tuples([("path", "x")])), "has a MultiIndex for"),
        (indexed().set_index("path"), "has path as its index; make it a column: frame.reset_index()"),
        ([{"audio": TONE}], "row 0 of the list: the samples have no sampling rate; add a column sampling_rate"),
        ([{"audio": TONE, "sampling_rate": 0}], "row 0 of the list: the sampling_rate is 0"),
        ([{"audio": TONE, "sampling_rate": "16 kHz"}], "the sampling_rate is '16 kHz'"),
        ([{"audio": {"array": TONE}}], "have no sampling rate"),
        ([{"audio": TONE.astype(np.int64), "sampling_rate": RATE}], "the samples are int64, of which the scale is not"),
        ([{"audio": np.zeros((3, 3, 3)), "sampling_rate": RATE}], "has shape (3, 3, 3)"),
        ([{"audio": np.zeros(0), "sampling_rate": RATE}], "row 0 of the list: the audio is empty"),
        ([{"audio": [[1.0], [1.0, 2.0]], "sampling_rate": RATE}], "a list of lists of several lengths"),
        ([{"audio": io.BufferedReader(io.BytesIO(b"RIFF"))}], "the audio is a BufferedReader; give a path, bytes of"),
        ([{"audio": object()}], "row 0 of the list: the audio is a object; give a path, bytes of a file"),
        (datasets.Dataset.from_dict({"label": [1]}), "The Dataset has no column path and none audio; found label"),
        (datasets.Dataset.from_dict({"path": ["a.wav"]}).to_iterable_dataset(), "gives its rows once and in turn"),
        (datasets.DatasetDict(), "The DatasetDict has no rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_named_with_its_row_and_column(content_: object, said: str, folder: Path) -> None:
    assert said in message(corpus_of, content_, folder)


def test_a_label_column_of_lists_is_left_out_and_said(folder: Path) -> None:
    corpus = corpus_of([{"path": "a.wav", "words": ["a", "b"]}], folder)
    assert corpus.utterances[0].labels == {}
    assert corpus.notes[0] == "The column 'words' was not read as labels: in row 0 it is a list."


def test_silent_or_broken_samples_are_refused_as_those_of_files(folder: Path) -> None:
    (one,) = corpus_of([{"audio": np.array([0.1, np.nan]), "sampling_rate": RATE}]).utterances
    assert "row 0 of the list holds NaN or infinite samples" in message(one.audio.load)
    (one,) = corpus_of([{"audio": {"bytes": b"<html>", "path": "a.wav"}}]).utterances
    assert "a.wav (row 0 of the list) is not audio that soundfile can decode: it is a web page" in message(
        one.audio.load
    )


def test_the_corpus_of_a_table_cannot_be_read_by_its_name(folder: Path) -> None:
    assert "given in Python: downstream.run(recipe, upstream, corpus=TABLE)" in message(
        load_corpus, "table", folder, folder
    )


def test_a_list_of_dicts_needs_neither_pandas_nor_datasets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("pandas", "datasets"):
        monkeypatch.setitem(sys.modules, library, None)
    assert len(corpus_of([{"path": "a.wav"}], folder).utterances) == 1
    assert "corpus is a _io.BytesIO" in message(corpus_of, io.BytesIO())
