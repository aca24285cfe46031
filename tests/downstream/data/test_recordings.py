"""Recordings that are not whole, whose length is not told, that are something else, or that change under way."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import upstream
from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Utterance
from downstream.data.corpus_inspection import inspected_items
from downstream.data.recordings import inspect
from upstream.errors import UserError
from upstream.extract import fill
from upstream.store import StateStore, StoreKey

RATE = 16_000
SECONDS = 4.0


def tones() -> np.ndarray:
    """Four seconds that need many bits in some places and few in others, (S,)."""
    time = np.arange(int(RATE * SECONDS)) / RATE
    noise = np.random.default_rng(0).standard_normal(len(time))
    return 0.3 * np.sin(2 * np.pi * 440 * time) * (time % 2 < 1) + 0.02 * noise


def cut(path: Path, content: bytes | None = None) -> AudioCut:
    if content is not None:
        path.write_bytes(content)
    return AudioCut(AudioFile(path))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    return str(refused.value)


# ---------------------------------------------------------------- broken off

CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "ulaw.wav": ("WAV", "ULAW"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "alac.caf": ("CAF", "ALAC_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "rf64": ("RF64", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "svx": ("SVX", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
    "w64": ("W64", "PCM_16"),
}


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_breaks_off_is_refused_and_what_is_whole_is_not(suffix: str, tmp_path: Path) -> None:
    kind, subtype = CONTAINERS[suffix]
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tones(), RATE, format=kind, subtype=subtype)
    assert len(cut(path).load()) == pytest.approx(cut(path).seconds() * RATE)
    assert cut(path).seconds() == pytest.approx(SECONDS, abs=0.05)
    content = path.read_bytes()
    for share in (0.5, 0.8):
        broken = cut(path, content[: int(share * len(content))])
        assert f"a.{suffix}" in refusal(broken.load)
        if suffix != "flac":  # whose frames have no index: its decoder notices
            assert f"a.{suffix} is cut short" in refusal(broken.seconds)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_any_beginning_of_a_file_is_heard_or_refused(suffix: str, tmp_path: Path) -> None:
    kind, subtype = CONTAINERS[suffix]
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tones()[:RATE], RATE, format=kind, subtype=subtype)
    content = path.read_bytes()
    for length in range(1, 128, 3):
        with contextlib.suppress(UserError):
            assert len(cut(path, content[:length]).load()) > 0


def test_an_ogg_that_ends_between_two_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, tones(), RATE)
    content = path.read_bytes()
    assert "last page is not marked as the end" in refusal(cut(path, content[: content.rfind(b"OggS")]).seconds)
    assert cut(path, content + b"TAG" + bytes(125)).seconds() == SECONDS


@pytest.mark.parametrize("suffix", ["wav", "ogg", "mp3", "flac"])
def test_two_files_in_one_are_not_heard_as_one(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tones(), RATE)
    assert "several recordings" in refusal(cut(path, path.read_bytes() * 2).seconds)


# ---------------------------------------------------------------- lengths that nobody told


def wav(riff: int, data: int, after: bytes = b"") -> bytes:
    """A second of a ramp; riff, data: what its header says of sizes."""
    body = np.arange(RATE, dtype="<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + form + struct.pack("<4sI", b"data", data) + body + after


PIPES = {
    "sox": (0x7FFFF024, 0x7FFFF000),
    "ffmpeg": (0xFFFFFFFF, 0xFFFFFFFF),
    "arecord": (0x80000024, 0x80000000),
    "Python": (36, 0),
    "never finished": (0, 0),
    "finished in part": (2 * RATE + 36, 0),
    "32 bits, less the header": (0xFFFFFFFF - 8, 0xFFFFFFFF - 44),
}


@pytest.mark.parametrize("writer", PIPES)
def test_a_wav_from_a_pipe_is_read_to_its_end(writer: str, tmp_path: Path) -> None:
    piped = cut(tmp_path / "piped.wav", wav(*PIPES[writer]))
    told = cut(tmp_path / "told.wav", wav(2 * RATE + 36, 2 * RATE))
    assert piped.seconds() == told.seconds() == 1.0
    info = piped.inspected().info
    assert info is not None
    assert info.is_patched == (PIPES[writer][1] == 0)  # libsndfile reads the others as they are
    for one in (piped, piped.inspected()):
        assert torch.equal(one.load(), told.load())


def test_an_empty_wav_with_a_chunk_behind_it_is_empty(tmp_path: Path) -> None:
    head = wav(0, 0)[:44]
    information = struct.pack("<4sI", b"LIST", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf63.1.102\0\0"
    empty = cut(tmp_path / "a.wav", head[:4] + struct.pack("<I", 36 + len(information)) + head[8:] + information)
    assert "holds no samples" in refusal(empty.seconds)


def test_a_wav_whose_size_alone_is_unknown_may_still_break_off(tmp_path: Path) -> None:
    assert "is cut short" in refusal(cut(tmp_path / "a.wav", wav(0, 2 * RATE)[: RATE + 44]).seconds)


def test_a_flac_from_a_pipe_is_decoded_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tones(), RATE)
    told, content = cut(path).load(), bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the number of samples
    content[26:42] = bytes(16)  # and their MD5
    piped = cut(path, bytes(content))
    assert piped.seconds() == SECONDS
    for one in (piped, piped.inspected()):
        assert torch.equal(one.load(), told)
    middle = AudioCut(piped.recording, start=1.5, duration=1.0)
    assert torch.equal(middle.load(), told[24_000:40_000])
    assert "its last frame breaks off" in refusal(cut(path, bytes(content[:-100])).seconds)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3_without_its_length_is_heard_as_a_whole(rate: int, tmp_path: Path) -> None:
    """Of variable bit rate, so that libsndfile's estimate is wrong; the header that tells the length is its frame."""
    path = tmp_path / "a.mp3"
    samples = np.concatenate([np.zeros(rate * 2), np.random.default_rng(0).uniform(-0.5, 0.5, rate * 2)])
    with soundfile.SoundFile(path, "w", rate, 1, bitrate_mode="VARIABLE") as file:
        file.write(samples)
    content = path.read_bytes()
    first = content.index(b"Xing") - (21 if rate == 44_100 else 13)
    second = content.index(content[first : first + 2], first + 4)
    bare = cut(path, content[second:])
    bare_info = bare.inspected().info
    assert bare_info is not None
    as_before = bare.inspected(replace(bare_info, is_patched=False))
    assert bare.digest() != as_before.digest()  # under which a store may hold states of the part that was heard
    assert abs(soundfile.info(path).frames / rate - SECONDS) > 1
    assert bare.seconds() == pytest.approx(SECONDS, abs=0.15)
    heard = bare.load()
    assert len(heard) / RATE == pytest.approx(SECONDS, abs=0.15)
    half = len(heard) // 2
    assert float(heard[: half - 2_000].abs().max()) < 0.01
    assert float(heard[half + 2_000 : -4_000].std()) > 0.1
    assert "its last frame breaks off" in refusal(cut(path, content[second:-50]).seconds)


def test_a_caf_to_the_end_of_its_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.caf"
    soundfile.write(path, tones(), RATE, format="CAF", subtype="PCM_16")
    told, content = cut(path).load(), path.read_bytes()
    place = content.index(b"data") + 4
    piped = cut(path, content[:place] + b"\xff" * 8 + content[place + 8 :])
    assert torch.equal(piped.load(), told)
    assert piped.seconds() == SECONDS


# ---------------------------------------------------------------- something else

OTHERS = {
    "empty": (b"", "it is empty"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "a page": (b"\n<!DOCTYPE html><html></html>", "a web page"),
    "an answer": (b'{"error": "forbidden"}', "a JSON text"),
    "an archive": (b"PK\x03\x04" + bytes(40), "a zip archive"),
    "AppleDouble": (b"\0\5\x16\7" + bytes(40), "a file that macOS keeps"),
}


@pytest.mark.parametrize("suffix", ["wav", "raw", "mp3", "flac"])
@pytest.mark.parametrize("what", OTHERS)
def test_what_a_file_is_instead_is_said(what: str, suffix: str, tmp_path: Path) -> None:
    content, words = OTHERS[what]
    path = tmp_path / f"a.{suffix}"
    for call in (cut(path, content).load, cut(path).seconds):
        assert words in (said := refusal(call))
        assert f"a.{suffix} is not audio that soundfile can decode" in said


def test_samples_without_a_header_are_refused(tmp_path: Path) -> None:
    for suffix in ("raw", "vox", "gsm", "pcm"):
        assert f"a.{suffix} is not audio" in refusal(cut(tmp_path / f"a.{suffix}", bytes(range(200)) * 16).load)


def test_a_recording_may_have_any_name(tmp_path: Path) -> None:
    for suffix in ("raw", "mp3", "txt"):
        assert cut(tmp_path / f"a.{suffix}", wav(2 * RATE + 36, 2 * RATE)).seconds() == 1.0


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """What may lie in the place of a file, by what it is."""
    places = {"a folder": tmp_path / "folder", "a pipe": tmp_path / "pipe", "a socket": tmp_path / "socket"}
    places["a folder"].mkdir()
    os.mkfifo(places["a pipe"])
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(places["a socket"]))
        yield {**places, "a device": Path("/dev/zero"), "a link": tmp_path / "link"}


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices among the files")
def test_what_is_no_file_is_refused_and_not_waited_for(odd: dict[str, Path]) -> None:
    for what, path in odd.items():
        for call in (cut(path).load, cut(path).seconds):
            assert what in refusal(call)


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_a_damaged_sampling_rate_is_refused(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(1_600), rate)
    assert f"{rate:,} samples a second" in refusal(cut(path).seconds)


def test_a_length_that_no_memory_holds_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tones(), RATE)
    content = bytearray(path.read_bytes())
    content[21:26] = content[21] | 0x0F, 255, 255, 255, 255
    assert "a.flac" in refusal(cut(path, bytes(content)).load)


# ---------------------------------------------------------------- changes under way


def rewritten(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def replaced(path: Path, content: bytes) -> None:
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def unnoticed(path: Path, content: bytes) -> None:
    """With the same size, within one tick of the clock."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [rewritten, replaced, unnoticed])
def test_what_is_decoded_is_what_was_digested(change: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(), RATE)
    inspected = cut(path).inspected()
    assert torch.equal(inspected.load(), cut(path).load())
    soundfile.write(tmp_path / "b.wav", tones()[::-1], RATE)
    change(path, (tmp_path / "b.wav").read_bytes())
    assert "a.wav has changed since this run began to read it" in refusal(inspected.load)
    assert cut(path).inspected().digest() != inspected.digest()


def test_a_settled_file_is_known_by_its_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(), RATE)
    monkeypatch.setattr("downstream.data.recordings.UNSETTLED", -(10**12))  # as if it were old
    inspected = cut(path).inspected()
    assert inspected.info is not None
    assert inspected.info.is_settled
    assert torch.equal(inspected.load(), cut(path).load())
    os.utime(path, ns=(0, 0))
    assert "has changed" in refusal(inspected.load)
    path.unlink()
    assert "Cannot read the recording" in refusal(inspected.load)


def test_states_of_a_recording_that_changes_never_enter_the_store(tmp_path: Path) -> None:
    """It is still being copied when the extraction comes to it; what was encoded of others is kept."""
    encoder = upstream.load("fbank")
    store = StateStore(tmp_path / "states", StoreKey.of(encoder, "means"), encoder.name)
    utterances = []
    for name, seconds in (("a", 1.0), ("b", 60.0)):
        soundfile.write(tmp_path / f"{name}.wav", np.resize(tones(), int(seconds * RATE)), RATE)
        utterances.append(Utterance(name, cut(tmp_path / f"{name}.wav"), "s"))
    items = inspected_items(utterances, tmp_path / "kept.sqlite", progress=False)
    soundfile.write(tmp_path / "a.wav", tones()[::-1], RATE)
    with pytest.raises(UserError, match=r"a\.wav has changed since this run began"):
        fill(store, encoder, items, progress=False)
    assert [item.digest in store for item in items] == [False, True]
    items = inspected_items(utterances, tmp_path / "kept.sqlite", progress=False)
    assert fill(store, encoder, items, progress=False) == SECONDS


@pytest.mark.parametrize("container", ["MAT4", "MAT5", "PVF", "IRCAM", "AVR", "PAF", "MPC2K"])
def test_a_container_that_cannot_be_checked_is_refused(tmp_path: Path, container: str) -> None:
    """libsndfile reads what is there of half a file of these, and tells nobody."""
    path = tmp_path / f"tone.{container.lower()}"
    soundfile.write(path, np.sin(np.arange(44_100) / 20), 44_100, format=container, subtype="PCM_16")
    with pytest.raises(UserError, match="nobody could tell whether it is whole. Convert it"):
        inspect(AudioFile(path))
