"""Digests and lengths of a dataset's audio, and what is kept of them between runs."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from downstream.data import corpus_inspection, recordings
from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Utterance
from downstream.data.corpus_inspection import inspected_items
from downstream.data.effects import Effects
from downstream.data.inspection_cache import InspectionCache
from upstream.errors import UserError


def written(path: Path, seconds: float = 0.1) -> Utterance:
    noise = np.random.default_rng(list(path.name.encode())).standard_normal(int(seconds * 16_000))
    soundfile.write(path, 0.1 * noise, 16_000)
    return Utterance(path.stem, AudioCut(AudioFile(path)), "s")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Utterance, ...]:
    """Four files that count as old, although they have just been written."""
    monkeypatch.setattr(recordings, "UNSETTLED", -(10**12))
    return tuple(written(tmp_path / f"{name}.wav") for name in "abcd")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the recordings that were read."""
    names: list[str] = []
    real = recordings.inspect

    def noted(recording: recordings.Recording) -> recordings.RecordingInfo:
        names.append(Path(recording.name).stem)
        return real(recording)

    monkeypatch.setattr(corpus_inspection, "inspect", noted)
    return names


def test_a_second_run_reads_what_has_changed_and_nothing_else(
    corpus: tuple[Utterance, ...], read: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "store" / "kept.sqlite"
    first = inspected_items(corpus, kept)
    assert sorted(read) == ["a", "b", "c", "d"]
    assert inspected_items(corpus, kept) == first
    assert len(read) == 4
    written(tmp_path / "b.wav", 0.2)
    os.utime(tmp_path / "c.wav", ns=(0, 0))
    found = inspected_items(corpus, kept)
    assert sorted(read[4:]) == ["b", "c"]
    assert [new.digest == old.digest for new, old in zip(found, first, strict=True)] == [True, False, True, True]
    assert inspected_items(corpus, kept, check_audio=True) == found
    assert sorted(read[6:]) == ["a", "b", "c", "d"]


def test_what_was_found_of_a_file_is_used_where_it_is_decoded(corpus: tuple[Utterance, ...], tmp_path: Path) -> None:
    (item,) = inspected_items(corpus[:1], tmp_path / "kept.sqlite")
    (again,) = inspected_items(corpus[:1], tmp_path / "kept.sqlite")
    written(tmp_path / "a.wav", 0.3)
    for one in (item, again):
        with pytest.raises(UserError, match="has changed since this run began"):
            one.audio.load()


def test_a_file_that_has_just_been_written_is_read_again(read: list[str], tmp_path: Path) -> None:
    utterance = written(tmp_path / "a.wav")
    for _ in range(2):
        inspected_items([utterance], tmp_path / "kept.sqlite")
    assert read == ["a", "a"]


def overwritten(kept: Path) -> None:
    kept.write_bytes(b"{" * 5_000)


def cut_short(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:5_000])


def of_another_program(kept: Path) -> None:
    kept.unlink()
    with sqlite3.connect(kept) as connection:
        connection.executescript("CREATE TABLE other (name TEXT); PRAGMA user_version = 1;")


def of_another_version(kept: Path) -> None:
    with sqlite3.connect(kept) as connection:
        connection.executescript("DROP TABLE lengths; PRAGMA user_version = 99;")


def changed_a_bit(kept: Path) -> None:
    with sqlite3.connect(kept) as connection:
        connection.execute("UPDATE recordings SET seconds = 7")


def no_text(kept: Path) -> None:
    with sqlite3.connect(kept) as connection:
        connection.execute("UPDATE recordings SET digest = CAST(x'ff' AS TEXT)")


DAMAGES = [overwritten, cut_short, of_another_program, of_another_version, changed_a_bit, no_text]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_again(
    damage: Callable[[Path], None], corpus: tuple[Utterance, ...], read: list[str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.sqlite"
    first = inspected_items(corpus, kept)
    damage(kept)
    assert inspected_items(corpus, kept) == first
    assert len(read) == 8
    assert inspected_items(corpus, kept) == first
    assert len(read) == 8


def test_what_cannot_be_kept_stops_no_run(
    corpus: tuple[Utterance, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file where the store's folder should be, and a database that is read-only or in use."""
    (tmp_path / "file").touch()
    kept = tmp_path / "kept.sqlite"
    expected = inspected_items(corpus[:2], kept)
    assert inspected_items(corpus[:2], tmp_path / "file" / "kept.sqlite") == expected
    with InspectionCache(kept) as inspections:
        inspections._connection.execute("PRAGMA query_only = 1")
        info = recordings.inspect(corpus[2].audio.recording)
        inspections.keep(AudioFile(tmp_path / "c.wav"), info)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert inspected_items(corpus, kept)[:2] == expected


def test_two_processes_keep_what_they_find_in_one_file(corpus: tuple[Utterance, ...], tmp_path: Path) -> None:
    kept = tmp_path / "kept.sqlite"
    with InspectionCache(kept), InspectionCache(kept):
        inspected_items(corpus[:2], kept)
        inspected_items(corpus[2:], kept)
    with InspectionCache(kept) as inspections:
        files = [AudioFile(tmp_path / f"{name}.wav") for name in "abcd"]
        assert None not in inspections.recordings(files, [file.stamp() for file in files])


def test_lengths_without_silence_are_measured_once_and_kept_by_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the recording is silent; what was kept is believed for the same audio alone."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000)
    soundfile.write(tmp_path / "a.wav", np.concatenate([tone, np.zeros(8_000)]), 16_000)
    sounding = AudioCut(AudioFile(tmp_path / "a.wav"), effects=Effects(silence=True))
    utterance = Utterance("a", sounding, "s")
    kept = tmp_path / "kept.sqlite"
    (item,) = inspected_items([utterance], kept)
    assert 0.4 < item.seconds < 0.6
    with monkeypatch.context() as patch:
        patch.setattr(AudioCut, "load", lambda _: pytest.fail("decoded again"))
        assert inspected_items([utterance], kept) == (item,)
    whole = replace(utterance, audio=replace(sounding, effects=Effects()))
    assert inspected_items([whole], kept)[0].seconds == 1.0
