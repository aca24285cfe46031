"""Features that targets are made of: pitch of tones, levels, torchaudio's bands, and the alignment with frames."""

from __future__ import annotations

import math

import pytest
import torch
import torchaudio
from torch import Tensor

from downstream.pretraining import features as made
from downstream.pretraining.features import BANDS, COEFFICIENTS, FLOOR, features, fundamental, log_bands
from downstream.pretraining.speech import HOP, WINDOW, Stream, as_frames

RATE = 16_000


def tone(frequency: float, seconds: float = 1.0, harmonics: int = 5, amplitude: float = 0.2) -> Tensor:
    """A tone with falling harmonics, as a voice has."""
    phases = 2 * math.pi * frequency * torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    parts = [amplitude / number * torch.sin(number * phases) for number in range(1, harmonics + 1)]
    return torch.stack(parts).sum(dim=0).float()


def noise(seconds: float = 1.0) -> Tensor:
    return 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def stream_of(waveform: Tensor) -> Stream:
    return Stream("one", "here", as_frames(waveform), 1.0, "")


def of_middle(waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log F0, voicing and log power of the frames of a waveform, at 8 kHz."""
    low = torchaudio.functional.resample(waveform, RATE, made.PITCH_RATE)
    return fundamental(low.unfold(0, made.PITCH_WINDOW, 160)[2:-2])


@pytest.mark.parametrize("frequency", [75.0, 120.0, 200.0, 250.0, 310.0])
def test_the_pitch_of_a_tone(frequency: float) -> None:
    log_f0, voicing, _ = of_middle(tone(frequency))
    torch.testing.assert_close(log_f0.exp(), torch.full_like(log_f0, frequency), rtol=0.01, atol=0)
    assert float(voicing.min()) > 0.9


def test_noise_and_silence_have_no_pitch() -> None:
    assert float(of_middle(noise())[1].mean()) < 0.4
    assert float(of_middle(torch.zeros(RATE))[1].max()) == 0.0
    rows = features("pitch", stream_of(torch.zeros(RATE)))
    assert bool(rows.isfinite().all())


def test_twice_as_loud_is_six_decibels_more() -> None:
    quiet, loud = (of_middle(tone(200.0, amplitude=amplitude))[2].mean() for amplitude in (0.1, 0.2))
    assert float(loud - quiet) == pytest.approx(math.log(4), abs=0.01)


def test_a_rising_tone_has_a_rising_pitch() -> None:
    rising = torch.cat([tone(frequency, 0.5) for frequency in (120.0, 160.0, 220.0)])
    height = features("pitch", stream_of(rising))[:, 0]
    levels = [float(height[first : first + 15].mean()) for first in (5, 30, 55)]
    assert levels == sorted(levels)
    assert levels[2] - levels[0] > 1.0


def of_half_seconds(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean prosody of two stretches of one stream, away from where they meet and end."""
    rows = features("prosody", stream_of(torch.cat([one, other])))
    half = len(rows) // 2
    return rows[25 : half - 25].mean(dim=0), rows[half + 25 : -25].mean(dim=0)


def test_prosody_tells_how_half_a_second_sounds() -> None:
    height, level, voicing, tilt, change, slope, range_of_height, range_of_level, _ = range(9)
    flat = tone(160.0, 3.0)
    lively = torch.cat([tone(frequency, 0.1) for frequency in (130.0, 160.0, 195.0) * 10])
    before, after = of_half_seconds(flat, lively)
    assert all(float(after[column] - before[column]) > 1.0 for column in (change, slope, range_of_height))
    before, after = of_half_seconds(flat, 2 * tone(200.0, 3.0))
    assert all(float(after[column] - before[column]) > 1.0 for column in (height, level))
    beats = torch.cat([torch.full((1_600,), amplitude) for amplitude in (0.2, 1.0)] * 15)
    before, after = of_half_seconds(flat, flat * beats)
    assert float(after[range_of_level] - before[range_of_level]) > 1.0
    hiss = 0.3 * noise(3.0).diff(prepend=torch.zeros(1))
    before, after = of_half_seconds(flat, hiss)
    assert all(float(after[column] - before[column]) < -1.0 for column in (voicing, tilt))


def test_bands_are_torchaudios() -> None:
    """Windows, filters and frames of torchaudio.transforms with the same settings; theirs is not scaled by the window's
    length, and has no floor."""
    waveform = as_frames(noise() + tone(300.0))
    peer = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=512, win_length=WINDOW, hop_length=HOP, f_min=20.0, n_mels=BANDS, center=False, power=2.0
    )
    # n_fft samples of a frame, its window in their middle
    padding = (512 - WINDOW) // 2
    padded = torch.nn.functional.pad(waveform.float() / 2**15, (padding, padding))
    theirs = torch.log(peer(padded).T / WINDOW + FLOOR)
    ours = log_bands(waveform)
    torch.testing.assert_close(ours, theirs[: len(ours)], rtol=1e-3, atol=1e-3)


def test_mfcc_are_cosines_of_the_bands_and_their_slopes() -> None:
    waveform = noise() + tone(300.0)
    rows, bands = features("mfcc", stream_of(waveform)), log_bands(as_frames(waveform))
    number, band = torch.arange(COEFFICIENTS)[:, None], torch.arange(BANDS)
    cosines = torch.cos(math.pi / BANDS * (band + 0.5) * number) * math.sqrt(2 / BANDS)
    cosines[0] /= math.sqrt(2)
    static = bands @ cosines.T
    torch.testing.assert_close(rows[:, :COEFFICIENTS], made.standardised(static), rtol=1e-3, atol=1e-3)
    padded = torch.cat([static[:1], static[:1], static, static[-1:], static[-1:]])
    slopes = (2 * (padded[4:] - padded[:-4]) + padded[3:-1] - padded[1:-3]) / 10
    torch.testing.assert_close(
        rows[:, COEFFICIENTS : 2 * COEFFICIENTS], made.standardised(slopes), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("kind", "dim"), [("mfcc", 39), ("log_mel", 40), ("pitch", 5), ("prosody", 9)])
@pytest.mark.parametrize("samples", [6_400, 6_719, 6_720, 48_000])
def test_there_is_one_row_a_frame(kind: str, dim: int, samples: int) -> None:
    stream = stream_of(noise(3.0)[:samples])
    rows = features(kind, stream)
    assert rows.shape == (stream.frames, dim)
    assert bool(rows.isfinite().all())


@pytest.mark.parametrize(("kind", "reach"), [("mfcc", 4), ("log_mel", 1), ("pitch", 4), ("prosody", 16)])
def test_an_impulse_moves_rows_around_its_frame_alone(kind: str, reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what is relative to the whole stream. Slopes of slopes reach over four frames on each side, and the
    window of pitch is longer than a frame."""
    monkeypatch.setattr(made, "standardised", lambda rows: rows)
    frame, waveform = 40, noise(2.0)
    struck = waveform.clone()
    struck[frame * HOP + WINDOW // 2] += 0.5
    calm, moved = features(kind, stream_of(waveform)), features(kind, stream_of(struck))
    if kind == "log_mel":  # without the mean level
        calm, moved = (rows - rows[:10].mean() for rows in (calm, moved))
    change = (moved - calm).abs().amax(dim=1)
    places = (change > 1e-3 * change.max()).nonzero()[:, 0].tolist()
    assert frame in places
    assert frame - reach - 1 <= min(places)
    assert max(places) <= frame + reach + 1
    assert abs(int(change.argmax()) - frame) <= (12 if kind == "prosody" else 1)


def test_long_streams_are_computed_in_parts_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of(noise(2.0) + tone(150.0, 2.0))
    whole = {kind: features(kind, stream) for kind in ("mfcc", "log_mel", "pitch", "prosody")}
    monkeypatch.setattr(made, "FRAMES_AT_ONCE", 17)
    for kind, rows in whole.items():
        torch.testing.assert_close(features(kind, stream), rows, rtol=1e-4, atol=1e-4)
