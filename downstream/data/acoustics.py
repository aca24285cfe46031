"""Signal processing on waveforms: spectral tilt, breath, room, noise, level, and where there is sound.

float64 at 16 kHz; whatever is drawn comes from the generator that is passed.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from upstream.base import SAMPLE_RATE

Samples = NDArray[np.float64]


def tilted(signal: Samples, slope: float) -> Samples:
    """(S,) -> (S,): raise the spectrum by `slope` dB an octave around 1 kHz; the gain is constant below 100 Hz."""
    frequencies = np.maximum(np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE), 100.0)
    gains = 10 ** (slope * np.log2(frequencies / 1000.0) / 20)
    return np.fft.irfft(np.fft.rfft(signal) * gains, len(signal))


def with_breath(speech: Samples, level: float, random: Generator) -> Samples:
    """(S,) -> (S,): add bright noise that follows the speech's envelope (over 10 ms), `level` dB relative to it."""
    window = np.full(SAMPLE_RATE // 100, 100 / SAMPLE_RATE)
    envelope = np.convolve(np.abs(speech), window, mode="same")
    breath = tilted(random.standard_normal(len(speech)), 3.0) * envelope
    return speech + breath * decibels(level) * root_mean_square(speech) / root_mean_square(breath)


def in_room(speech: Samples, reverberation: float, direct: tuple[float, float], random: Generator) -> Samples:
    """(S,) -> (S,): add a room's echo as exponentially decaying noise (Polack's model of a late response).

    reverberation: seconds in which the echo falls by 60 dB; a drawn factor of 0.8 to 1.2 is applied.
    direct: range of the direct-to-reverberant ratio in dB, drawn uniformly.
    """
    length = round(SAMPLE_RATE * reverberation * random.uniform(0.8, 1.2))
    echo = random.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echo *= decibels(-random.uniform(*direct)) / np.sqrt(np.sum(echo**2))
    response = np.concatenate([[1.0], echo])
    total = len(speech) + length
    return np.fft.irfft(np.fft.rfft(speech, total) * np.fft.rfft(response, total), total)[: len(speech)]


def with_noise(
    recording: Samples, signal_to_noise: tuple[float, float], tilt: tuple[float, float], random: Generator
) -> Samples:
    """(S,) -> (S,): add steady noise.

    signal_to_noise: range in dB, drawn uniformly.
    tilt: range of the noise's spectral tilt in dB an octave, drawn uniformly.
    """
    noise = tilted(random.standard_normal(len(recording)), random.uniform(*tilt))
    level = decibels(-random.uniform(*signal_to_noise)) * root_mean_square(recording)
    return recording + noise * level / root_mean_square(noise)


def sound_intervals(signal: Samples, frame: float, below_loudest: float, gap: float) -> list[tuple[int, int]]:
    """Intervals of a clean signal (S,) in which there is sound: first sample, end (exclusive).

    A frame of `frame` seconds has sound if its RMS is at most `below_loudest` dB below that of the loudest frame.
    Pauses shorter than `gap` seconds between frames with sound belong to the sound. Empty for digital silence.
    """
    size = round(frame * SAMPLE_RATE)
    frames = np.pad(signal, (0, -len(signal) % size)).reshape(-1, size)
    power = np.mean(frames**2, axis=1)
    sounding = np.flatnonzero((power > 0) & (power >= power.max() * decibels(-below_loudest) ** 2))
    intervals: list[tuple[int, int]] = []
    for start in (sounding * size).tolist():
        end = min(start + size, len(signal))
        if intervals and start - intervals[-1][1] < gap * SAMPLE_RATE:
            intervals[-1] = (intervals[-1][0], end)
        else:
            intervals.append((start, end))
    return intervals


def decibels(level: float) -> float:
    """The amplitude factor of a level in dB."""
    return float(10 ** (level / 20))


def root_mean_square(signal: Samples) -> float:
    """RMS amplitude of a signal."""
    return float(np.sqrt(np.mean(signal**2)))
