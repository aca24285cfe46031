"""How hidden states lie on disk: as floats of some width, or as 8-bit steps between each channel's extremes.

float32 keeps every bit of an upstream that computes in it. float16 keeps 11 significant bits up to 65504, bfloat16
8 bits of any size. int8 keeps 254 steps between the least and the greatest value that a channel of a layer takes in
an utterance, which also holds channels that lie far from zero and hardly move, as the last layers of large encoders
have them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from upstream.errors import MendableError

STEPS = 254  # between the extremes of a channel: int8 without -128, so that the codes lie evenly around the centre


class Codec(ABC):
    """Between states of an utterance, (L, T, D) of any float dtype, and what is stored of them.

    dtype: of a stored number.
    scales: float32 numbers stored for each layer and channel of an utterance.
    """

    dtype: torch.dtype
    scales: int

    @abstractmethod
    def encode(self, states: Tensor, codes: Tensor, scales: Tensor) -> None:
        """Write states (L, T, D) to codes (L, T, D) of `dtype` and scales (L, `scales`, D) float32.

        Raises MendableError for states that the codec cannot hold.
        """

    @abstractmethod
    def decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        """The states that were written, (L, T, D) float32, in memory of their own."""


@dataclass(frozen=True)
class Float(Codec):
    """States rounded to a narrower float."""

    dtype: torch.dtype
    scales: int = 0

    def encode(self, states: Tensor, codes: Tensor, scales: Tensor) -> None:
        if self.dtype == torch.float16 and states.dtype != torch.float16:
            refuse_overflow(states)
        codes.copy_(states)

    def decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        return empty(codes.shape).copy_(codes)


@dataclass(frozen=True)
class Steps(Codec):
    """States as steps of (max - min) / 254 from (max + min) / 2 of their channel; a constant channel is exact.

    The scales are that centre and that step. A state is wrong by half a step at most, and float32's own
    rounding.
    """

    dtype: torch.dtype = torch.int8
    scales: int = 2

    def encode(self, states: Tensor, codes: Tensor, scales: Tensor) -> None:
        for layer, code, (centre, step) in zip(states, codes, scales, strict=True):  # one layer fits the CPU's cache
            values = layer.float()
            least, greatest = values.amin(dim=0), values.amax(dim=0)  # aminmax is twenty times slower along dim 0
            torch.div(greatest + least, 2, out=centre)
            torch.div(greatest - least, STEPS, out=step)
            steps = (values - centre) / step.where(step > 0, 1.0)
            code.copy_(steps.round_().clamp_(-STEPS / 2, STEPS / 2))

    def decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        states = empty(codes.shape)
        for layer, code, (centre, step) in zip(states, codes, scales, strict=True):
            torch.addcmul(centre, layer.copy_(code), step, out=layer)
        return states


BY_NAME: dict[str, Codec] = {
    "float32": Float(torch.float32),
    "float16": Float(torch.float16),
    "bfloat16": Float(torch.bfloat16),
    "int8": Steps(),
}
CODECS = tuple(BY_NAME)


def empty(shape: Sequence[int]) -> Tensor:
    """Memory for states, float32, to be filled.

    NumPy's, since PyTorch asks for aligned memory, and the C library (glibc 2.36) gives a piece that was freed seldom
    out again when alignment is asked for: reading 600 MB of frames one after another was seen to keep 400 MB.
    """
    return torch.from_numpy(np.empty(shape, dtype=np.float32))


def refuse_overflow(states: Tensor) -> None:
    """Raise MendableError where float16 would turn a state into infinity."""
    largest = torch.finfo(torch.float16).max
    extremes = states.aminmax()
    peak = max(-float(extremes.min), float(extremes.max))
    if peak > largest:
        raise MendableError(
            f"A hidden state of size {peak:.6g} does not fit float16, which ends at {largest:.0f}; "
            "store these frames with the codec bfloat16 or int8 instead."
        )
