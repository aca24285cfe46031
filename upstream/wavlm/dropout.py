"""Dropout whose zeros depend on the seed of each utterance and on nothing else.

PyTorch's dropout draws for the whole batch from one generator, so that what happens to an utterance depends on all that
was drawn before. Here it depends on the utterance's seed and the place in the network: a batch that is divided among
processes, computed again for checkpointing, or resumed draws the same zeros, and nobody keeps a generator's state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

LEVELS = 2**16  # probabilities are multiples of 1 / LEVELS: four zeros are decided by one 64-bit number


def generator_of(seed: int, place: str, device: torch.device) -> torch.Generator:
    """Return the generator of one place in the network for one seed."""
    digest = hashlib.sha256(f"{seed} {place}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7]))


def steps_of(probability: float) -> int:
    """Return a probability above 0 in steps of 1 / LEVELS, one at least."""
    return max(1, round(probability * LEVELS))


def zeros_of(shape: Sequence[int], probability: float, generator: torch.Generator) -> Tensor:
    """Return a boolean tensor that is True with this probability above 0, to one part in `LEVELS`."""
    numbers = torch.Size(shape).numel()
    drawn = torch.empty(-(-numbers // 4), dtype=torch.int64, device=generator.device)
    levels = drawn.random_(-(2**63), None, generator=generator).view(torch.int16)[:numbers].view(shape)
    return levels <= steps_of(probability) - LEVELS // 2 - 1


def scale_of(probability: float) -> float:
    """Return the factor of what is left, with which the mean stays the same; 0 where nothing is left."""
    left = LEVELS - steps_of(probability)
    return LEVELS / left if left else 0.0


class _Zeroed(torch.autograd.Function):
    """Sets some numbers to zero and scales the others; keeps one byte a number for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, zeros: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(zeros)
        ctx.scale = scale
        return x.masked_fill(zeros, 0.0).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (zeros,) = ctx.saved_tensors
        return gradient.masked_fill(zeros, 0.0).mul_(ctx.scale), None, None


@dataclass(frozen=True)
class Dropouts:
    """The dropouts of a packed batch in training.

    seeds, lengths: of each utterance; lengths in frames. part: part of the network, the beginning of every place.
    """

    seeds: Sequence[int]
    lengths: Sequence[int]
    part: str = "embedding"

    def of_block(self, index: int) -> Dropouts:
        """Return the dropouts of one block."""
        return replace(self, part=f"block {index}")

    def __call__(self, x: Tensor, probability: float, place: str) -> Tensor:
        """Apply dropout to the rows of all utterances, (N, D)."""
        if probability == 0.0:
            return x
        zeros = self.zeros_of_rows(x.shape[1], probability, place, x.device)
        result: Tensor = _Zeroed.apply(x, zeros, scale_of(probability))  # type: ignore[no-untyped-call]
        return result

    def zeros_of_rows(self, width: int, probability: float, place: str, device: torch.device) -> Tensor:
        """Return the zeros of the rows of all utterances, (N, width)."""
        each = [(frames, width) for frames in self.lengths]
        return torch.cat([self.zeros(i, probability, place, 0, own, device) for i, own in enumerate(each)])

    def zeros(
        self, index: int, probability: float, place: str, number: int, shape: Sequence[int], device: torch.device
    ) -> Tensor:
        """Return the zeros of one utterance at one place in this part of the network; the same at every call.

        number: of the tensor, where there are several at a place.
        """
        generator = generator_of(self.seeds[index], f"{self.part} {place} {number}", device)
        return zeros_of(shape, probability, generator)
