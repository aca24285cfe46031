"""What phones and browsers record: heard as it was said, whole or not at all, the same each time."""

from __future__ import annotations

import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from encoded import CODECS, RATE, encode, piped, speech
from trees import message

import upstream
from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.files import Entry, own_suffixes, sort_out
from downstream.data.corpus import Utterance
from downstream.data.corpus_inspection import inspected_items

PCM = (speech() * 32767).astype(np.int16)
RATES = {"amr": 8_000, "webm": 48_000}


def cut(path: Path, *where: float) -> AudioCut:
    return AudioCut(AudioFile(path), *where)


def kept(folder: Path, suffix: str) -> Path:
    rate = RATES.get(suffix, RATE)
    return encode(folder / f"a.{suffix}", speech(rate=rate), rate=rate)


def likeness(heard: torch.Tensor, said: np.ndarray, later: int = 0) -> float:
    """The correlation of a waveform with what was said, which begins so many samples later in it."""
    begun = heard.numpy()[max(later, 0) :]
    expected = said[max(-later, 0) :]
    length = min(len(begun), len(expected))
    return float(np.corrcoef(begun[:length], expected[:length])[0, 1])


# ---------------------------------------------------------------- heard as it was said


@pytest.mark.parametrize("suffix", ["m4a", "mp4", "mka"])
def test_what_is_encoded_without_loss_is_heard_as_its_wav(suffix: str, tmp_path: Path) -> None:
    stereo = np.stack([PCM, -PCM // 3], 1)
    for samples in (PCM, stereo):
        path = encode(tmp_path / f"a.{suffix}", samples, "alac" if suffix != "mka" else "flac")
        soundfile.write(tmp_path / "a.wav", samples, RATE)
        wav = AudioFile(tmp_path / "a.wav")
        for fields in ({}, {"start": 0.3217, "duration": 0.75}, {"start": 1.9}):
            told, found = AudioCut(wav, **fields), AudioCut(AudioFile(path), **fields)
            assert found.seconds() == told.seconds()
            for one in (found, found.inspected()):
                assert torch.equal(one.load(), told.load())
    assert torch.equal(AudioCut(AudioFile(path), channel=1).load(), AudioCut(wav, channel=1).load())
    assert "has no channel 2" in message(AudioCut(AudioFile(path), channel=2).seconds)


# Samples at 16 kHz by which sound is later than it was said, as FFmpeg hears it: where nothing tells how many samples
# the encoder put before it, they are heard, and where a decoder begins with its second frame, the first is not.
LATER = {"aac": (1024,), "mka": (0, 1024), "amr": range(-600, 600), "wma": range(-600, 600)}


@pytest.mark.parametrize("suffix", CODECS)
def test_what_loses_is_heard_nearly_as_it_was_said(suffix: str, tmp_path: Path) -> None:
    """From its first sample on: what the encoder put before it is removed, where the container tells it."""
    heard, said = cut(kept(tmp_path, suffix)).load(), speech()
    assert abs(len(heard) - len(said)) <= (2 * 1024 if suffix in ("aac", "mka", "wma", "amr") else 0)
    best = max(likeness(heard, said, later) for later in LATER.get(suffix, (0,)))
    assert best > (0.9 if suffix in ("amr", "webm") else 0.99)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "flac"])
def test_samples_of_every_kind_have_one_scale(codec: str, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mka", speech(), codec)
    step = {"pcm_u8": 2**-7, "pcm_s16le": 2**-15, "flac": 2**-15}.get(codec, 2**-23)
    assert float((cut(path).load() - torch.from_numpy(speech())).abs().max()) < step


@pytest.mark.parametrize("samples", [88_200, 88_211, 90_001])
@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_an_mp4_is_as_long_as_what_was_said(codec: str, samples: int, tmp_path: Path) -> None:
    """What fills the last frame is not heard; an edit list may round to a millisecond."""
    said = np.resize(PCM, samples) if codec == "alac" else np.resize(speech(), samples)
    info = cut(encode(tmp_path / "a.m4a", said, codec, rate=44_100)).inspected().info
    assert info is not None
    assert (info.rate, info.channels) == (44_100, 1)
    assert 0 <= samples - round(info.seconds * 44_100) <= (44 if codec == "aac" else 0)


def test_the_times_of_a_phones_clock_cut_nothing_out(tmp_path: Path) -> None:
    """Phones write when a packet came, which is a little more or less than the sound in it."""
    path = encode(tmp_path / "a.m4a", speech())
    heard, content = cut(path).load(), bytearray(path.read_bytes())
    place = content.index(b"stts") + 12  # how many packets, and how long each lasts
    packets, lasting = struct.unpack_from(">II", content, place)
    assert (packets > 20, lasting) == (True, 1024)
    struct.pack_into(">I", content, place + 4, lasting - 4)
    path.write_bytes(content)
    found = cut(path).load()
    assert abs(len(found) - len(heard)) < 1024
    assert torch.equal(found[: len(heard)], heard[: len(found)])


def test_a_recording_that_was_trimmed_on_the_phone_is_heard_as_trimmed(tmp_path: Path) -> None:
    """An edit list says from where to where it is played; the rest stays in the file."""
    path = encode(tmp_path / "a.m4a", speech())
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 12
    lasting, begin = struct.unpack_from(">Ii", content, place)
    struct.pack_into(">Ii", content, place, lasting // 2, begin + RATE // 2)
    path.write_bytes(content)
    heard = cut(path).load()
    assert len(heard) == pytest.approx(RATE, abs=1024)
    assert likeness(heard, speech()[RATE // 2 :]) > 0.99


def test_many_threads_hear_the_same(tmp_path: Path) -> None:
    paths = [kept(tmp_path, suffix) for suffix in ("m4a", "webm", "wma")]
    alone = [cut(path).inspected().load() for path in paths]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda path: cut(path).load(), paths * 6))
    assert all(torch.equal(one, other) for one, other in zip(together, alone * 6, strict=True))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the command ffmpeg")
@pytest.mark.parametrize("suffix", CODECS)
def test_ffmpeg_hears_the_same(suffix: str, tmp_path: Path) -> None:
    """To one step of 16 bits: another version of FFmpeg may round otherwise."""
    path = kept(tmp_path, suffix)
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), str(tmp_path / "b.wav")], check=True)
    found, told = cut(path).load(), cut(tmp_path / "b.wav").load()
    assert len(found) == len(told)
    assert float((found - told).abs().max()) < 2**-14


def test_what_was_found_is_believed_in_a_later_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downstream.data.recordings.UNSETTLED", -(10**12))  # as if it were old
    rows = [Utterance("u", cut(kept(tmp_path, "m4a")), "s"), Utterance("v", cut(tmp_path / "a.m4a", 0.5, 0.5), "s")]
    first = inspected_items(rows, tmp_path / "kept.sqlite", progress=False)
    monkeypatch.setattr("downstream.data.corpus_inspection.inspect", None)
    again = inspected_items(rows, tmp_path / "kept.sqlite", progress=False)
    assert [(item.digest, item.seconds) for item in again] == [(item.digest, item.seconds) for item in first]
    assert torch.equal(again[1].audio.load(), first[0].audio.load()[RATE // 2 : RATE])


# ---------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("suffix", CODECS)
def test_what_breaks_off_is_refused(suffix: str, tmp_path: Path) -> None:
    content = kept(tmp_path, suffix).read_bytes()
    shortened = tmp_path / f"b.{suffix}"
    for end in (len(content) // 3, len(content) * 4 // 5, len(content) - 2):
        shortened.write_bytes(content[:end])
        assert f"b.{suffix} is cut short" in message(cut(shortened).seconds)
        assert f"b.{suffix} is cut short" in message(cut(shortened).load)


@pytest.mark.parametrize("suffix", CODECS)
def test_any_beginning_of_a_file_is_heard_or_refused(suffix: str, tmp_path: Path) -> None:
    content = kept(tmp_path, suffix).read_bytes()
    shortened = tmp_path / f"b.{suffix}"
    for end in (*range(1, 90, 7), *range(90, len(content), len(content) // 20)):
        shortened.write_bytes(content[:end])
        try:
            seconds = cut(shortened).seconds()
        except upstream.UserError:
            continue
        assert suffix in ("aac", "amr")  # nothing tells how many frames there are
        assert len(cut(shortened).load()) == pytest.approx(seconds * RATE, abs=1)


def test_an_index_before_the_samples_shows_what_is_missing(tmp_path: Path) -> None:
    """Programs that stream write it first, so that any beginning can be decoded."""
    path = encode(tmp_path / "a.m4a", speech(), options={"movflags": "faststart"})
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    path.write_bytes(content[: len(content) * 3 // 4])
    assert f"its header announces {len(content)} bytes" in message(cut(path).seconds)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("webm", {"live": "1"}),
        ("webm", {}),
        ("mp4", {"movflags": "empty_moov+default_base_moof+frag_keyframe", "frag_duration": "200000"}),
    ],
)
def test_a_recording_of_a_browser_tells_no_length_and_is_heard_to_its_end(
    suffix: str, options: dict[str, str], tmp_path: Path
) -> None:
    content = piped(suffix, speech(), options)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    assert cut(path).seconds() == pytest.approx(2.0, abs=0.12)
    for end in (len(content) // 2, len(content) - 3):
        path.write_bytes(content[:end])
        assert "is cut short" in message(cut(path).seconds)


@pytest.mark.parametrize("suffix", ["m4a", "mka", "webm"])
def test_two_files_in_one_are_not_heard_as_one(suffix: str, tmp_path: Path) -> None:
    path = kept(tmp_path, suffix)
    path.write_bytes(path.read_bytes() * 2)
    assert "several recordings" in message(cut(path).seconds)


@pytest.mark.parametrize("with_what", [bytes(300), np.random.default_rng(0).bytes(300)])
def test_damage_in_the_middle_is_refused(with_what: bytes, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", speech(), options={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    content[-3_000:-2_700] = with_what
    path.write_bytes(content)
    assert "a.m4a is damaged" in message(cut(path).seconds)


def test_a_length_that_is_not_there_is_not_believed(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mka", PCM, "flac")
    content = bytearray(path.read_bytes())
    place = content.index(bytes.fromhex("448988")) + 3  # Matroska's Duration, in milliseconds
    (told,) = struct.unpack_from(">d", content, place)
    struct.pack_into(">d", content, place, told + 150)
    path.write_bytes(content)
    assert "is cut short or damaged: it announces 2.150 s and holds 2.000 s" in message(cut(path).seconds)


# ---------------------------------------------------------------- what is no recording


def test_which_track_is_meant_is_not_guessed(tmp_path: Path) -> None:
    path = encode(tmp_path / "two.mka", [PCM, PCM[::-1].copy()], "pcm_s16le")
    said = message(cut(path).load)
    assert "has 2 tracks of sound, and nobody said which is meant" in said
    assert f"ffmpeg -i {path} -map 0:a:0 {path.with_suffix('.wav')}" in said


def test_a_film_is_heard_and_a_silent_one_refused(tmp_path: Path) -> None:
    for has_sound in (False, True):
        path = tmp_path / f"film{has_sound}.mp4"
        with av.open(str(path), "w") as container:
            video = container.add_stream("mpeg4", rate=10)
            video.width = video.height = 32
            sound = container.add_stream("alac", rate=RATE, layout="mono") if has_sound else None
            for _ in range(30):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
            if sound is not None:
                frame = av.AudioFrame.from_ndarray(PCM.reshape(1, -1), format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, 0
                container.mux([*sound.encode(frame), *sound.encode(None)])
    assert "filmFalse.mp4 has no sound in it" in message(cut(tmp_path / "filmFalse.mp4").load)
    heard = cut(tmp_path / "filmTrue.mp4").load()
    assert torch.equal(heard, torch.from_numpy(PCM.astype(np.float32)) / 2**15)


@pytest.mark.parametrize("suffix", CODECS)
def test_without_pyav_it_is_said_what_to_type(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept(tmp_path, suffix)
    monkeypatch.setattr("downstream.data.recordings.is_decodable", lambda: False)
    for call in (cut(path).seconds, cut(path).load):
        said = message(call)
        assert "Type `pip install av`, or convert it" in said
        assert f"`ffmpeg -i {path} {path.with_suffix('.wav')}`" in said


def test_own_folders_are_searched_for_what_can_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(Path(name), True) for name in ("a.wav", "b.m4a", "c.webm", "d.mp3", "e.txt")]
    found = sort_out(entries, own_suffixes())
    assert [path.name for path in found.recordings] == ["a.wav", "b.m4a", "c.webm", "d.mp3"]
    assert not found.notes
    monkeypatch.setattr("downstream.data.corpora.files.is_decodable", lambda: False)
    found = sort_out(entries, own_suffixes())
    assert [path.name for path in found.recordings] == ["a.wav", "d.mp3"]
    assert found.notes == [
        "2 files were left out, which PyAV decodes (type `pip install av`, or convert them with ffmpeg): b.m4a, c.webm."
    ]
    assert [path.name for path in sort_out(entries).recordings] == ["a.wav"]  # of a corpus, as it was published
