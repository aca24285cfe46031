"""Class-balanced sampling of utterances."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_weights(classes: Sequence[int]) -> Tensor:
    """Weight of each utterance, (N,): number of utterances / number of its class."""
    numbers = torch.tensor(classes)
    counts = torch.bincount(numbers)
    return len(numbers) / counts[numbers].double()


def draw_balanced(weights: Tensor, generator: torch.Generator) -> Tensor:
    """N positions drawn with replacement, by weights (N,)."""
    return torch.multinomial(weights, len(weights), replacement=True, generator=generator)
