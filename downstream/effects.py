"""Effects that SUPERB applies to recordings before the upstream hears them, as sox carries them out.

Keyword spotting and query by example lower every recording by 3 dB, speaker verification also removes silence; s3prl
has sox do it (`gain -3.0`, `silence 1 0.1 0.1% -1 0.1 0.1%`), and here it is done without sox.

What was compared: Debian's build of sox 14.4.2 (14.4.2+git20190427, x86-64), with float32 output, gives the same
samples to the last bit on 4,289 recordings at 16 kHz (3.4 hours of RAVDESS, speechocean762, FSDD, LibriSpeech and
Speech Commands; gain -3 dB, then silence) and on 1,500 synthetic ones with stretches about the limits of level and
duration. torchaudio's binding of sox, which s3prl calls, was not run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upstream.base import SAMPLE_RATE

# Raised whenever the same effects would give other samples.
EFFECTS_VERSION = 1

# A sample inside sox is a 32-bit integer. It is held as float64 here, which represents all of them exactly.
Samples = NDArray[np.float64]
FULL_SCALE = 2.0**31
LARGEST = FULL_SCALE - 1
# Floats leave sox as multiples of 2^-24: what a float32 holds near full scale, and coarser than it near zero.
FLOAT_STEP = 128.0

RMS_WINDOW = SAMPLE_RATE // 50  # samples over which sox measures loudness: 20 ms
# Samples looked at for the end of an audible stretch before twice as many are; only speed depends on it.
FIRST_LOOK = SAMPLE_RATE


@dataclass(frozen=True)
class Effects:
    """What is done to a waveform after decoding, in sox's order: first gain, then the removal of silence.

    decibels: gain; 0 leaves the level.
    silence: whether silence is removed, by the limits that `remove_silence` has unless told.
    """

    decibels: float = 0.0
    silence: bool = False

    def __call__(self, waveform: Tensor) -> Tensor:
        """(S,) float32 at 16 kHz -> (S',) float32; empty where nothing is loud enough.

        Samples stay sox's integers from one effect to the next, as in one chain of sox.
        """
        if not self.decibels and not self.silence:
            return waveform
        samples = from_waveform(waveform)
        if self.decibels:
            samples = amplified(samples, self.decibels)
        if self.silence:
            samples = without_silence(samples)
        return to_waveform(samples)

    def describe(self) -> str:
        """What is done, for the eye and for a key in the store; empty where nothing is."""
        parts = []
        if self.decibels:
            parts.append(f"gain {float(self.decibels)!r} dB")
        if self.silence:
            parts.append("silence removed")
        return f"{', '.join(parts)} (version {EFFECTS_VERSION})" if parts else ""


def gain(waveform: Tensor, decibels: float) -> Tensor:
    """sox's `gain`: (S,) float32 -> (S,) float32, louder by `decibels`; what exceeds full scale is clipped."""
    return to_waveform(amplified(from_waveform(waveform), decibels))


def remove_silence(waveform: Tensor, duration: float = 0.1, percent: float = 0.1) -> Tensor:
    """sox's `silence 1 DURATION PERCENT% -1 DURATION PERCENT%`: (S,) float32 at 16 kHz -> (S',) float32.

    Audio is dropped until the RMS of the last 20 ms has been above `percent` of full scale for `duration` seconds on
    end, counted from the first of them; then it is kept until the RMS has not been above it for `duration` seconds on
    end, which are dropped; and so on. What is too short to settle it at the end of the waveform is kept after
    something audible, dropped otherwise. The RMS begins with an empty window wherever dropping begins.

    Whatever is left is returned, an empty waveform where nothing is. Levels count to all 32 bits, as in sox after
    another effect; as the first effect on a 16-bit file, sox would round the RMS down to 16 bits.
    """
    return to_waveform(without_silence(from_waveform(waveform), duration, percent))


def from_waveform(waveform: Tensor) -> Samples:
    """Floats in [-1, 1] to sox's samples, towards zero and clipped; exact for PCM of up to 24 bits."""
    return np.clip(np.trunc(waveform.numpy().astype(np.float64) * FULL_SCALE), -FULL_SCALE, LARGEST)


def to_waveform(samples: Samples) -> Tensor:
    """sox's samples to float32, ties upwards."""
    steps = np.floor((samples + FLOAT_STEP / 2) / FLOAT_STEP)
    return torch.from_numpy((steps * (FLOAT_STEP / FULL_SCALE)).astype(np.float32))


def amplified(samples: Samples, decibels: float) -> Samples:
    """The samples, louder by `decibels`; to whole numbers, ties away from zero, clipped to 32 bits."""
    exact = samples * math.exp(decibels * math.log(10) / 20)
    return np.clip(np.trunc(exact + np.copysign(0.5, exact)), -FULL_SCALE, LARGEST)


def without_silence(samples: Samples, duration: float = 0.1, percent: float = 0.1) -> Samples:
    """The audible stretches of the samples, one after the other."""
    hold = round(duration * SAMPLE_RATE)
    kept = [samples[:0]]
    begin = 0
    while begin < len(samples):
        first, last, begin = audible_stretch(samples, begin, hold, percent)
        kept.append(samples[first:last])
    return np.concatenate(kept)


def audible_stretch(samples: Samples, begin: int, hold: int, percent: float) -> tuple[int, int, int]:
    """The first audible stretch from `begin` on: its first sample, the one after its last, and where to go on."""
    look = FIRST_LOOK
    while True:
        end = min(begin + look, len(samples))
        starts, lengths, loud = runs(above(samples[begin:end], percent))
        opening = first_true(loud & (lengths >= hold))
        closing = first_true(~loud[opening:] & (lengths[opening:] >= hold)) + opening
        if closing < len(starts):
            silence = begin + int(starts[closing])
            return begin + int(starts[opening]), silence, silence + hold
        if end == len(samples):
            first = begin + int(starts[opening]) if opening < len(starts) else end
            return first, end, end
        look *= 2


def above(samples: Samples, percent: float) -> NDArray[np.bool_]:
    """Whether the RMS of the window that ends with each sample is above a share of full scale, (S,).

    sox keeps one running sum of squares in float64: it takes the square that leaves the window off, then adds the one
    that enters. Taking the same steps in the same order gives the same rounding.
    """
    squares = samples * samples
    steps = np.zeros((len(samples), 2))
    steps[RMS_WINDOW:, 0] = -squares[:-RMS_WINDOW]
    steps[:, 1] = squares
    sums = np.add.accumulate(steps.reshape(-1))[1::2]
    rms = np.floor(np.sqrt(np.maximum(sums, 0.0) / RMS_WINDOW))
    return rms / LARGEST * 100 > percent


def runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Where runs of equal flags begin, how long they are, and which flag each repeats; flags must not be empty."""
    starts = np.concatenate([[0], np.flatnonzero(flags[1:] != flags[:-1]) + 1])
    return starts, np.diff(starts, append=len(flags)), flags[starts]


def first_true(flags: NDArray[np.bool_]) -> int:
    """Index of the first flag that is set, or the number of flags where none is."""
    return int(flags.argmax()) if flags.any() else len(flags)
