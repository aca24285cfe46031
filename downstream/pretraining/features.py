"""Acoustic features that targets are made of, one row a frame of the encoder."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from downstream.pretraining.speech import HOP, WINDOW, Stream
from upstream.base import SAMPLE_RATE

FEATURES_VERSION = 1  # increase it whenever the same audio gives other features
BANDS = 40
COEFFICIENTS = 13
FLOOR = 1e-7  # of the energy in a band: 70 dB below a full-scale sine
FRAMES_AT_ONCE = 8192

# Pitch: autocorrelation of 50 ms at 8 kHz, for 60 to 450 Hz.
PITCH_RATE = 8000
PITCH_WINDOW = 400  # samples at 8 kHz
PITCH_SIZE = 1024  # of the Fourier transform: no lag below wraps around
LOWEST, HIGHEST = 60.0, 450.0  # Hz
QUIET = 1e-6  # power under which there is no pitch

# Prosody
AROUND = 25  # frames, half a second
LOW_BANDS, HIGH_BANDS = 14, 16  # of the mel bands: centred below 1 kHz, and above 2.5 kHz


def features(kind: str, stream: Stream) -> Tensor:
    """Return features of a stream, (T, dim) float32, frame t of samples 320 t … 320 t + 399.

    kind: "mfcc": 13 coefficients and their first and second differences, standardised over the stream.
    "log_mel": 40 bands, averaged over 3 frames, without the stream's mean level. "pitch": log F0, voicing, level, and
    the differences of log F0 and level, standardised over the stream. "prosody": how half a second sounds.
    """
    made = {"mfcc": mfcc, "log_mel": log_mel, "pitch": pitch, "prosody": prosody}[kind](stream.samples)
    return made.contiguous()


def mfcc(samples: Tensor) -> Tensor:
    """(S,) int16 -> (T, 39); as for HuBERT's first iteration (Hsu et al. 2021, section IV-B)."""
    cosines = torchaudio.functional.create_dct(COEFFICIENTS, BANDS, "ortho")
    static = log_bands(samples) @ cosines
    first = differences(static)
    return standardised(torch.cat([static, first, differences(first)], dim=1))


def log_mel(samples: Tensor) -> Tensor:
    """(S,) int16 -> (T, 40)."""
    smooth = F.avg_pool1d(F.pad(log_bands(samples).T[None], (1, 1), mode="replicate"), 3, 1)[0].T
    return smooth - smooth.mean()


def pitch(samples: Tensor) -> Tensor:
    """(S,) int16 -> (T, 5): log F0 relative to the stream's, weighted with voicing; voicing; level; differences."""
    low = torchaudio.functional.resample(samples.float() / 2**15, SAMPLE_RATE, PITCH_RATE)
    frames = (len(samples) - WINDOW) // HOP + 1
    step, offset = HOP // 2, (PITCH_WINDOW - WINDOW // 2) // 2  # centred on the encoder's frame
    padded = F.pad(low, (offset, PITCH_WINDOW))
    parts = []
    for first in range(0, frames, FRAMES_AT_ONCE):
        own = min(FRAMES_AT_ONCE, frames - first)
        part = padded[first * step : (first + own - 1) * step + PITCH_WINDOW]
        parts.append(torch.stack(fundamental(part.unfold(0, PITCH_WINDOW, step)), dim=1))
    log_f0, voicing, level = torch.cat(parts).unbind(1)
    clear = voicing > 0.5
    middle = log_f0[clear].median() if bool(clear.any()) else log_f0.median()
    height = (log_f0 - middle) * voicing.clamp(0.0, 1.0)
    both = torch.stack([height, level], dim=1)
    return standardised(torch.cat([height[:, None], voicing[:, None], level[:, None], differences(both)], dim=1))


def prosody(samples: Tensor) -> Tensor:
    """(S,) int16 -> (T, 9): means over half a second of pitch, level, voicing, tilt, of how fast bands and pitch move,
    and the deviations of pitch, level and tilt, standardised over the stream.

    Emotions are heard by height, range, loudness, brightness and tempo (Scherer 2003, Speech Communication 40), which
    are no properties of a frame.
    """
    height, voicing, level, slope, _ = pitch(samples).unbind(1)
    bands = log_bands(samples)
    tilt = bands[:, :LOW_BANDS].mean(dim=1) - bands[:, -HIGH_BANDS:].mean(dim=1)
    change = F.pad((bands[1:] - bands[:-1]).abs().mean(dim=1)[None], (1, 0), mode="replicate")[0]
    means = [around(one) for one in (height, level, voicing, tilt, change, slope.abs())]
    deviations = [(around(one.square()) - around(one).square()).clamp_min(0).sqrt() for one in (height, level, tilt)]
    return standardised(torch.stack([*means, *deviations], dim=1))


def around(values: Tensor) -> Tensor:
    """Return the means over `AROUND` frames around each frame, (T,) -> (T,)."""
    half = AROUND // 2
    return F.avg_pool1d(F.pad(values[None, None], (half, half), mode="replicate"), AROUND, 1)[0, 0]


def fundamental(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log F0 (of Hz), voicing (0 to about 1) and log power of frames, (T, PITCH_WINDOW) -> (T,) each.

    The autocorrelation of a windowed frame, divided by that of the window (Boersma 1993); its highest peak between the
    two lags, refined by a parabola. Short lags are preferred slightly, against halved frequencies; above 330 Hz, where
    the best lag may lie between two samples, some tones with strong harmonics are halved nevertheless.
    """
    window = torch.hann_window(PITCH_WINDOW)
    centred = frames - frames.mean(dim=1, keepdim=True)
    power = centred.square().mean(dim=1)
    shortest, longest = int(PITCH_RATE / HIGHEST), int(PITCH_RATE / LOWEST) + 1
    correlation = autocorrelation(centred * window)[:, : longest + 2]
    own = autocorrelation(window[None])[:, : longest + 2]
    ratio = correlation / correlation[:, :1].clamp_min(1e-12) / (own / own[:, :1]).clamp_min(1e-3)
    lags = torch.arange(shortest, longest + 1)
    candidates = ratio[:, shortest : longest + 1] - 0.02 * torch.log2(lags / shortest)
    best = candidates.argmax(dim=1) + shortest
    rows = torch.arange(len(frames))
    before, peak, after = (ratio[rows, best + step] for step in (-1, 0, 1))
    curvature = (before - 2 * peak + after).clamp_max(-1e-6)
    shift = (0.5 * (before - after) / curvature).clamp(-0.5, 0.5)
    voicing = torch.where(power > QUIET, peak.clamp(0.0, 1.0), torch.zeros_like(peak))
    return torch.log(PITCH_RATE / (best + shift)), voicing, torch.log(power + FLOOR)


def autocorrelation(frames: Tensor) -> Tensor:
    """(T, n) -> (T, PITCH_SIZE)."""
    correlation: Tensor = torch.fft.irfft(torch.fft.rfft(frames, PITCH_SIZE).abs().square(), PITCH_SIZE)
    return correlation


def log_bands(samples: Tensor) -> Tensor:
    """Return the log energies of mel bands, (S,) int16 -> (T, 40)."""
    windows = samples.unfold(0, WINDOW, HOP)
    parts = []
    for some in torch.split(windows, FRAMES_AT_ONCE):
        spectrum = torch.fft.rfft(some.float() / 2**15 * torch.hann_window(WINDOW), 512).abs().square()
        parts.append(torch.log(spectrum @ mel_filters() / WINDOW + FLOOR))
    return torch.cat(parts)


@cache
def mel_filters() -> Tensor:
    """Return the triangles of the mel bands, (257, 40)."""
    filters: Tensor = torchaudio.functional.melscale_fbanks(257, 20.0, SAMPLE_RATE / 2, BANDS, SAMPLE_RATE)
    return filters


def differences(rows: Tensor) -> Tensor:
    """Return the slope over five frames, (T, dim) -> (T, dim)."""
    slopes: Tensor = torchaudio.functional.compute_deltas(rows.T[None])[0].T
    return slopes


def standardised(rows: Tensor) -> Tensor:
    """Return rows with mean 0 and deviation 1 in every column."""
    return (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp_min(1e-5)
