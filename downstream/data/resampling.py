"""Resampling to 16 kHz by a windowed sinc, torchaudio's default: 6 zero crossings wide, roll-off 0.99, Hann's window.

Of two rates whose ratio is L/M in lowest terms, an output sample lies at one of L phases between input samples.
torchaudio computes a filter for each phase that is as long as M input samples, almost all of it zeros: 300 KB for
44.1 kHz, 3 GB for 47,999 Hz. For such rates the same sinc is evaluated here at the few input samples that it covers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upstream.base import SAMPLE_RATE

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

WIDTH, ROLL_OFF = 6, 0.99
LARGEST_FILTER = 2**24  # float32 numbers in a filter of torchaudio: 64 MB, and several times that while it is made
CHUNK = 2**13  # output samples that are computed at once: 8 MB for 192 kHz


def resample(waveform: Tensor, rate: int) -> Tensor:
    """(S,) at `rate` Hz -> (S',) at 16 kHz, S' = S * 16000 / rate, rounded up."""
    if rate == SAMPLE_RATE:
        return waveform
    with ONE_AT_A_TIME:
        to_sixteen_kilohertz = resampler(rate)
    resampled: Tensor = to_sixteen_kilohertz(waveform)
    return resampled


ONE_AT_A_TIME = Lock()  # otherwise every decoding thread computes the same filter at the start


@lru_cache(maxsize=8)  # rates; a filter takes up to 64 MB
def resampler(rate: int) -> Resample | ByPhase:
    """The resampler from `rate` Hz to 16 kHz, cached because its filter takes longer to compute than to apply.

    float32 throughout, which gives the samples of torchaudio.functional.resample to the last bit, except for rates
    that are resampled by phase.
    """
    if is_by_phase(rate):
        common = math.gcd(rate, SAMPLE_RATE)
        return ByPhase(rate // common, SAMPLE_RATE // common)
    from torchaudio.transforms import Resample

    return Resample(rate, SAMPLE_RATE, dtype=torch.float32)


def is_by_phase(rate: int) -> bool:
    """Return True for rates whose common divisor with 16,000 is so small that torchaudio's filter would be large."""
    common = math.gcd(rate, SAMPLE_RATE)
    before, after = rate // common, SAMPLE_RATE // common
    reach = math.ceil(WIDTH * before / (min(before, after) * ROLL_OFF))
    return after * (2 * reach + before) > LARGEST_FILTER


@dataclass(frozen=True)
class ByPhase:
    """Resampling from `before` to `after` samples in the same time, two numbers without a common divisor."""

    before: int
    after: int

    @property
    def cutoff(self) -> float:
        """The filter's limit, in zero crossings of its sinc by input sample."""
        return min(self.before, self.after) * ROLL_OFF / self.before

    @property
    def reach(self) -> int:
        """Input samples on either side of an output sample that count."""
        return math.ceil(WIDTH / self.cutoff)

    @cached_property
    def filters(self) -> NDArray[np.float32]:
        """The weights of the input samples about an output sample, (phases, 2 * reach + 1)."""
        phases = np.arange(self.after)[:, None] / self.after
        distances = (np.arange(-self.reach, self.reach + 1) - phases) * self.cutoff
        distances = distances.clip(-WIDTH, WIDTH)
        weights = np.sinc(distances) * np.cos(distances * (math.pi / WIDTH / 2)) ** 2 * self.cutoff
        rounded: NDArray[np.float32] = weights.astype(np.float32)
        return rounded

    def __call__(self, waveform: Tensor) -> Tensor:
        """(S,) float32 -> (S',) float32; what lies before and behind the waveform is silence."""
        padded = np.pad(waveform.numpy(), (self.reach, self.reach + 1))
        around = np.lib.stride_tricks.sliding_window_view(padded, 2 * self.reach + 1)
        count = -(-len(waveform) * self.after // self.before)
        resampled = np.empty(count, dtype=np.float32)
        for begin in range(0, count, CHUNK):
            numbers = np.arange(begin, min(begin + CHUNK, count), dtype=np.int64) * self.before
            filters = self.filters[numbers % self.after]
            np.einsum("st,st->s", around[numbers // self.after], filters, out=resampled[begin : begin + CHUNK])
        return torch.from_numpy(resampled)
