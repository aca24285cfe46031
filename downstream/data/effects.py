"""Gain and silence removal as sox does them, which SUPERB applies to recordings before the upstream.

Keyword spotting and query by example lower every recording by 3 dB; speaker verification also removes silence. s3prl
calls sox for it (`gain -3.0`, `silence 1 0.1 0.1% -1 0.1 0.1%`); here it is done without sox.

Tested against sox: Debian's build of sox 14.4.2 (14.4.2+git20190427, x86-64), with float32 output, gives the same
samples to the last bit on 4,289 recordings at 16 kHz (3.4 hours of RAVDESS, speechocean762, FSDD, LibriSpeech and
Speech Commands; gain -3 dB, then silence) and on 1,500 synthetic ones with stretches about the limits of level and
duration. torchaudio's binding of sox, which s3prl uses, was not tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upstream.base import SAMPLE_RATE

# Incremented when the same effects give other samples.
EFFECTS_VERSION = 1

# Samples inside sox are 32-bit integers; float64 represents all of them exactly.
Samples = NDArray[np.float64]
FULL_SCALE = 2.0**31
LARGEST = FULL_SCALE - 1
# sox outputs floats as multiples of 2^-24: the step of float32 near full scale, coarser than it near zero.
FLOAT_STEP = 128.0

RMS_WINDOW = SAMPLE_RATE // 50  # samples over which sox measures loudness: 20 ms
# Samples searched for the end of an audible stretch, then twice as many, and so on; affects speed only.
FIRST_LOOK = SAMPLE_RATE


@dataclass(frozen=True)
class Effects:
    """Effects on a waveform after decoding, in sox's order: first gain, then silence removal.

    decibels: gain; 0 leaves the level.
    silence: remove silence, with the default limits of `remove_silence`.
    """

    decibels: float = 0.0
    silence: bool = False

    def __call__(self, waveform: Tensor) -> Tensor:
        """(S,) float32 at 16 kHz -> (S',) float32; empty if nothing is loud enough.

        Samples stay sox's integers between the effects, as in one chain of sox.
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
        """The effects in words, for messages and for keys in the store; "" for none."""
        parts = []
        if self.decibels:
            parts.append(f"gain {float(self.decibels)!r} dB")
        if self.silence:
            parts.append("silence removed")
        return f"{', '.join(parts)} (version {EFFECTS_VERSION})" if parts else ""


def gain(waveform: Tensor, decibels: float) -> Tensor:
    """sox's `gain`: (S,) float32 -> (S,) float32, louder by `decibels`, clipped at full scale."""
    return to_waveform(amplified(from_waveform(waveform), decibels))


def remove_silence(waveform: Tensor, duration: float = 0.1, percent: float = 0.1) -> Tensor:
    """sox's `silence 1 DURATION PERCENT% -1 DURATION PERCENT%`: (S,) float32 at 16 kHz -> (S',) float32.

    Audio is dropped until the RMS of the last 20 ms stays above `percent` of full scale for `duration` seconds;
    these are kept, and so is all that follows until the RMS stays at or below that level for `duration` seconds. These
    are dropped, and so on. A shorter rest at the end of the waveform is kept if audio was being kept, and dropped
    otherwise. The RMS restarts with an empty window whenever dropping begins.

    Returns an empty waveform if nothing is left. Levels have 32 bits, as in sox after another effect; as the first
    effect on a 16-bit file, sox would round the RMS down to 16 bits.
    """
    return to_waveform(without_silence(from_waveform(waveform), duration, percent))


def from_waveform(waveform: Tensor) -> Samples:
    """Floats in [-1, 1] to sox's samples, rounded towards zero and clipped; exact for PCM of up to 24 bits."""
    return np.clip(np.trunc(waveform.numpy().astype(np.float64) * FULL_SCALE), -FULL_SCALE, LARGEST)


def to_waveform(samples: Samples) -> Tensor:
    """sox's samples to float32, rounded to FLOAT_STEP, ties upwards."""
    steps = np.floor((samples + FLOAT_STEP / 2) / FLOAT_STEP)
    return torch.from_numpy((steps * (FLOAT_STEP / FULL_SCALE)).astype(np.float32))


def amplified(samples: Samples, decibels: float) -> Samples:
    """The samples, louder by `decibels`, rounded to integers (ties away from zero) and clipped to 32 bits."""
    exact = samples * math.exp(decibels * math.log(10) / 20)
    return np.clip(np.trunc(exact + np.copysign(0.5, exact)), -FULL_SCALE, LARGEST)


def without_silence(samples: Samples, duration: float = 0.1, percent: float = 0.1) -> Samples:
    """The audible stretches of the samples, concatenated."""
    hold = round(duration * SAMPLE_RATE)
    kept = [samples[:0]]
    begin = 0
    while begin < len(samples):
        first, last, begin = audible_stretch(samples, begin, hold, percent)
        kept.append(samples[first:last])
    return np.concatenate(kept)


def audible_stretch(samples: Samples, begin: int, hold: int, percent: float) -> tuple[int, int, int]:
    """The first audible stretch from `begin` on: its start, its end (exclusive), and where to continue."""
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
    """(S,) flags: the RMS of the window that ends with this sample is above `percent` of full scale.

    sox keeps a running sum of squares in float64: it subtracts the square that leaves the window, then adds the one
    that enters. The same steps in the same order give the same rounding.
    """
    squares = samples * samples
    steps = np.zeros((len(samples), 2))
    steps[RMS_WINDOW:, 0] = -squares[:-RMS_WINDOW]
    steps[:, 1] = squares
    sums = np.add.accumulate(steps.reshape(-1))[1::2]
    rms = np.floor(np.sqrt(np.maximum(sums, 0.0) / RMS_WINDOW))
    return rms / LARGEST * 100 > percent


def runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Start, length and value of every run of equal flags; flags must not be empty."""
    starts = np.concatenate([[0], np.flatnonzero(flags[1:] != flags[:-1]) + 1])
    return starts, np.diff(starts, append=len(flags)), flags[starts]


def first_true(flags: NDArray[np.bool_]) -> int:
    """Index of the first true flag; the number of flags if there is none."""
    return int(flags.argmax()) if flags.any() else len(flags)
