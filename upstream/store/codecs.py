"""Codecs: how hidden states are stored, as floats or as 8-bit steps between the extremes of each channel.

float32 keeps every bit of an upstream that computes in it. float16 keeps 11 significant bits up to 65504, bfloat16
8 bits of any magnitude. int8 has 254 steps between the minimum and maximum of a channel of a layer in an utterance.
It also keeps channels that are far from zero and nearly constant, as in the last layers of large encoders.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from upstream.errors import UserError

STEPS = 254  # between the extremes of a channel: int8 without -128, so that codes are symmetric around the centre


class Codec(ABC):
    """Conversion between the states of an utterance, (L, T, D) of any float dtype, and stored numbers.

    dtype: of a stored number.
    scales: number of float32 scales stored for each layer and channel of an utterance.
    """

    dtype: torch.dtype
    scales: int

    @abstractmethod
    def encode(self, states: Tensor, codes: Tensor, scales: Tensor) -> None:
        """Write states (L, T, D) to codes (L, T, D) of `dtype` and scales (L, `scales`, D) float32.

        Raises UserError for states out of the codec's range.
        """

    @abstractmethod
    def decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        """Return the stored states, (L, T, D) float32, in new memory."""


@dataclass(frozen=True)
class FloatCodec(Codec):
    """States rounded to `dtype`."""

    dtype: torch.dtype
    scales: int = 0

    def encode(self, states: Tensor, codes: Tensor, scales: Tensor) -> None:
        if self.dtype == torch.float16 and states.dtype != torch.float16:
            refuse_overflow(states)
        codes.copy_(states)

    def decode(self, codes: Tensor, scales: Tensor) -> Tensor:
        return empty(codes.shape).copy_(codes)


@dataclass(frozen=True)
class Int8Codec(Codec):
    """States as steps of (max - min) / 254 from (max + min) / 2 of their channel; a constant channel is exact.

    The scales are this centre and this step. The largest error is half a step plus float32 rounding.
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
    "float32": FloatCodec(torch.float32),
    "float16": FloatCodec(torch.float16),
    "bfloat16": FloatCodec(torch.bfloat16),
    "int8": Int8Codec(),
}
CODECS = tuple(BY_NAME)


def rounded(states: Tensor, codec: str) -> Tensor:
    """Return states (L, T, D) as they come back from a store with this codec, (L, T, D) float32 on the CPU."""
    chosen, here = BY_NAME[codec], states.cpu()
    codes = torch.empty(here.shape, dtype=chosen.dtype)
    scales = torch.empty(here.shape[0], chosen.scales, here.shape[2])
    chosen.encode(here, codes, scales)
    return chosen.decode(codes, scales)


def empty(shape: Sequence[int]) -> Tensor:
    """Return uninitialised float32 memory for states.

    NumPy allocates it: PyTorch requests aligned memory, which the C library (glibc 2.36) seldom serves from freed
    pieces. Reading 600 MB of frames one after another kept 400 MB that way.
    """
    return torch.from_numpy(np.empty(shape, dtype=np.float32))


def refuse_overflow(states: Tensor) -> None:
    """Raise UserError if a state would become infinite in float16."""
    largest = torch.finfo(torch.float16).max
    extremes = states.aminmax()
    peak = max(-float(extremes.min), float(extremes.max))
    if peak > largest:
        raise UserError(
            f"A hidden state of magnitude {peak:.6g} does not fit float16, which ends at {largest:.0f}; "
            "store these frames with the codec bfloat16 or int8 instead."
        )
