"""Decoding, and what an upstream does with every kind of input a user may bring."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

import upstream
from downstream.data import audio, corpus_inspection, recordings, resampling
from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Utterance
from upstream.encode import WORKERS, WORKERS_BESIDE_GPU, Item, waveforms_ahead, workers_for
from upstream.errors import UserError

TONE_HZ = 440.0


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    """Half of full scale, (S, channels)."""
    time = np.arange(int(rate * seconds)) / rate
    return np.repeat(0.5 * np.sin(2 * np.pi * TONE_HZ * time)[:, None], channels, axis=1)


def segment(path: Path, samples: np.ndarray, rate: int, subtype: str = "PCM_16", **cut: float) -> AudioCut:
    soundfile.write(path, samples, rate, subtype=subtype)
    return AudioCut(AudioFile(path), **cut)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_rate_becomes_the_same_tone_at_16_khz(rate: int, tmp_path: Path) -> None:
    waveform = segment(tmp_path / "a.wav", tone(rate), rate).load()
    expected = torch.from_numpy(tone(16_000)[:, 0]).float()
    assert waveform.shape == (16_000,)
    inside = slice(500, -500)  # resampling rings at the edges
    assert float((waveform - expected)[inside].abs().max()) < 5e-3


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_resampled_to_the_bit_as_torchaudio_does(rate: int) -> None:
    for samples in (1, 7, 400, 4_801, 30_000):
        waveform = torch.randn(samples, generator=torch.Generator().manual_seed(samples))
        assert torch.equal(resampling.resample(waveform, rate), torchaudio.functional.resample(waveform, rate, 16_000))


@pytest.fixture
def no_resamplers() -> Iterator[None]:
    """Filters are computed anew, and those that the test made are forgotten."""
    resampling.resampler.cache_clear()
    yield
    resampling.resampler.cache_clear()


def test_threads_that_resample_at_once_agree(no_resamplers: None) -> None:
    waveform = torch.randn(4_000, generator=torch.Generator().manual_seed(0))
    rates = [11_025, 22_050, 44_100, 48_000] * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda rate: resampling.resample(waveform, rate), rates))
    for rate, resampled in zip(rates, found, strict=True):
        assert torch.equal(resampled, torchaudio.functional.resample(waveform, rate, 16_000))


def test_filters_are_computed_once_and_do_not_pile_up(no_resamplers: None) -> None:
    kept = resampling.resampler.cache_info().maxsize
    assert kept is not None
    for rate in [8_000, 8_000, *(16_000 * factor for factor in range(2, 2 + kept))]:
        resampling.resample(torch.zeros(100), rate)
    found = resampling.resampler.cache_info()
    assert (found.hits, found.misses, found.currsize) == (1, kept + 1, kept)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6])
def test_channels_are_averaged_to_the_bit_as_pytorch_does(channels: int) -> None:
    samples = np.random.default_rng(channels).standard_normal((3_001, channels)).astype(np.float32)
    expected = torch.from_numpy(samples).mean(dim=1)
    assert torch.equal(torch.from_numpy(audio.mixed_down(samples)), expected)


@dataclass(frozen=True)
class InMemory:
    """A recording that is no file on disk, as those of a hub are."""

    content: bytes
    name: str = "a recording"

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_and_a_stream_give_the_same_samples(suffix: str, channels: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(44_100, 0.5, channels), 44_100)
    for cut in ({}, {"start": 0.1, "duration": 0.2}):
        on_disk, streamed = (AudioCut(source, **cut) for source in (AudioFile(path), InMemory(path.read_bytes())))
        assert torch.equal(on_disk.load(), streamed.load())
        assert (on_disk.digest(), on_disk.seconds()) == (streamed.digest(), streamed.seconds())


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_in_other_encodings_are_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"m\xfcde.wav")  # Latin-1, which is not UTF-8
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    with path.open("wb") as file:
        soundfile.write(file, tone(16_000), 16_000, format="WAV")
    assert len(AudioCut(AudioFile(path)).load()) == 16_000


@dataclass
class Counting:
    """Silence that notes how many threads PyTorch would use for it."""

    threads: list[int]

    def load(self) -> torch.Tensor:
        self.threads.append(torch.get_num_threads())
        return torch.zeros(400)


def test_pytorch_works_alone_in_threads_that_decode_and_nowhere_else() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        counting = Counting([])
        batches = [[Item("a", counting, "0", 1.0)] * 2 for _ in range(6)]
        for _ in waveforms_ahead(batches, workers=3):
            assert torch.get_num_threads() == 3
        assert counting.threads == [1] * 12
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_a_gpu_is_fed_by_all_cores() -> None:
    assert workers_for(torch.device("cpu")) == WORKERS <= 4
    assert workers_for(torch.device("cuda", 1)) == WORKERS_BESIDE_GPU == min(16, os.cpu_count() or 1)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "PCM_U8"])
def test_integer_and_float_files_are_scaled_alike(subtype: str, tmp_path: Path) -> None:
    waveform = segment(tmp_path / "a.wav", tone(16_000), 16_000, subtype).load()
    assert float(waveform.abs().max()) == pytest.approx(0.5, abs=0.01)


def test_channels_are_averaged(tmp_path: Path) -> None:
    samples = tone(16_000, channels=2) * np.array([1.0, 0.5])
    waveform = segment(tmp_path / "a.wav", samples, 16_000).load()
    assert float(waveform.abs().max()) == pytest.approx(0.375, abs=1e-3)


def test_one_channel_is_heard_alone(tmp_path: Path) -> None:
    """Two speakers of a telephone call; a digest without a channel is what it was before there were channels."""
    samples = tone(16_000, channels=2) * np.array([1.0, 0.5])
    call = segment(tmp_path / "a.wav", samples, 16_000)
    left, right = replace(call, channel=0), replace(call, channel=1)
    assert [float(one.load().abs().max()) for one in (left, right)] == pytest.approx([0.5, 0.25], abs=1e-3)
    assert len({call.digest(), left.digest(), right.digest()}) == 3
    for absent in (2, -1):
        with pytest.raises(UserError, match=rf"a\.wav has no channel {absent}: it has 2, counted from 0"):
            replace(call, channel=absent).seconds()


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_of_opposite_phase_are_refused_and_one_of_them_is_not(channels: int, tmp_path: Path) -> None:
    samples = tone(16_000, channels=channels) * np.resize([1.0, -0.95], channels)
    opposite = segment(tmp_path / "a.wav", samples, 16_000)
    with pytest.raises(UserError, match=r"a\.wav has channels of opposite phase"):
        opposite.load()
    assert float(replace(opposite, channel=0).load().abs().max()) == pytest.approx(0.5, abs=1e-3)
    for unlike in (np.random.default_rng(0).uniform(-0.5, 0.5, (16_000, channels)), np.zeros((16_000, channels))):
        assert len(segment(tmp_path / "a.wav", unlike, 16_000).load()) == 16_000


def test_a_segment_is_cut_and_has_its_own_digest(tmp_path: Path) -> None:
    samples = np.arange(16_000)[:, None] / 32_768
    whole = segment(tmp_path / "a.wav", samples, 16_000)
    part = AudioCut(whole.recording, start=0.25, duration=0.5)
    assert torch.equal(part.load(), whole.load()[4_000:12_000])
    assert (whole.seconds(), part.seconds(), AudioCut(whole.recording, start=0.25).seconds()) == (1.0, 0.5, 0.75)
    digests = {whole.digest(), part.digest(), AudioCut(whole.recording, start=0.25).digest()}
    assert len(digests) == 3
    copied = tmp_path / "copy.wav"
    copied.write_bytes((tmp_path / "a.wav").read_bytes())
    assert AudioCut(AudioFile(copied)).digest() == whole.digest()


def test_clipped_audio_passes_as_it_is(tmp_path: Path) -> None:
    waveform = segment(tmp_path / "a.wav", np.clip(tone(16_000) * 9, -1, 1), 16_000, "FLOAT").load()
    assert float(waveform.abs().max()) == 1.0
    assert upstream.load("wavlm_nano", random_init=True)([waveform]).lengths.tolist() == [49]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not audio that soundfile can decode"),
        (b"RIFF\0\0\0\0WAVEfmt nonsense", "not audio that soundfile can decode"),
    ],
)
def test_undecodable_files_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(content)
    broken = AudioCut(AudioFile(tmp_path / "broken.wav"))
    for fit in (broken.load, broken.seconds):
        with pytest.raises(UserError, match=words) as refusal:
            fit()
        assert "broken.wav" in str(refusal.value)


def test_a_flac_that_breaks_off_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 1))
    soundfile.write(tmp_path / "a.flac", noise, 16_000)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.flac"):
        AudioCut(AudioFile(tmp_path / "a.flac")).load()


def test_missing_empty_and_non_finite_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read the recording"):
        AudioCut(AudioFile(tmp_path / "absent.wav")).load()
    empty = segment(tmp_path / "empty.wav", np.zeros((0, 1)), 16_000)
    with pytest.raises(UserError, match="holds no samples"):
        empty.load()
    with pytest.raises(UserError, match="holds no samples"):
        empty.seconds()
    broken = tone(16_000)
    broken[7] = np.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        segment(tmp_path / "nan.wav", broken, 16_000, "FLOAT").load()


@pytest.mark.parametrize("cut", [{"start": 5.0}, {"duration": 2.0}, {"start": 0.5, "duration": 1.0}])
def test_a_cut_beyond_the_recording_is_refused(cut: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.wav lasts 1.000 s, but an utterance is to be cut from"):
        segment(tmp_path / "a.wav", tone(16_000), 16_000, **cut).seconds()


def test_a_cut_may_end_a_rounding_later_than_the_recording(tmp_path: Path) -> None:
    assert segment(tmp_path / "a.wav", tone(16_000), 16_000, start=0.5, duration=0.51).seconds() == 0.5


def test_a_wav_that_breaks_off_is_refused(tmp_path: Path) -> None:
    """libsndfile would pass over it and give the half that is there."""
    whole = segment(tmp_path / "a.wav", tone(16_000), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.wav is cut short: its header announces 32044 bytes and it has 16022"):
        whole.seconds()


def test_an_inspection_reads_each_recording_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = segment(tmp_path / "a.wav", tone(16_000), 16_000)
    parts = [AudioCut(whole.recording, start=0.1 * index, duration=0.1) for index in range(9)]
    expected = [(part.digest(), part.seconds()) for part in parts]
    utterances = [Utterance(f"u{index}", part, "s") for index, part in enumerate(parts)]
    inspected = []
    real = recordings.inspect
    monkeypatch.setattr(corpus_inspection, "inspect", lambda source: inspected.append(source) or real(source))
    items = corpus_inspection.inspected_items(utterances, tmp_path / "kept.sqlite")
    assert [(item.digest, item.seconds) for item in items] == expected
    assert len(inspected) == 1


NAMES = ["wavlm_nano", "fbank", "fbank_no_cmvn", "mfcc"]


@pytest.mark.parametrize("name", NAMES)
def test_short_and_silent_utterances_have_finite_states(name: str) -> None:
    model = upstream.load(name, random_init=name == "wavlm_nano")
    states = model([torch.full((1,), 0.1), torch.zeros(399), torch.zeros(16_000), torch.randn(400) * 0.1])
    assert states.lengths.min() == 1
    assert bool(torch.isfinite(states.layers).all())
    assert bool(torch.isfinite(states.means()).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("waveforms", "words"),
    [
        ([], "non-empty list"),
        (torch.zeros(2, 16_000), "non-empty list"),
        ([torch.zeros(2, 16_000)], "Average the channels"),
        ([torch.zeros(16_000, dtype=torch.int16)], "Divide 16-bit PCM by 32768"),
        ([torch.full((16_000,), 20_000.0)], "Divide 16-bit PCM by 32768"),
        ([torch.zeros(0)], "Waveform 0 of the batch is empty"),
        ([torch.zeros(400), torch.tensor([0.0, float("nan")])], "Waveform 1 of the batch .* NaN"),
        ([torch.tensor([float("inf")])], "NaN or infinite"),
        ([np.zeros(400, dtype=np.float32)], "make it a tensor"),
    ],
)
def test_inputs_that_are_no_waveforms_are_refused(name: str, waveforms: list[torch.Tensor], words: str) -> None:
    model = upstream.load(name, random_init=name == "wavlm_nano")
    with pytest.raises(UserError, match=words):
        model(waveforms)


def test_half_and_double_precision_waveforms_are_accepted() -> None:
    model = upstream.load("wavlm_nano", random_init=True)
    waveform = torch.randn(2_000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert torch.equal(model([waveform.double()]).layers, model([waveform]).layers)
    assert model([waveform.half()]).layers.dtype == torch.float32
