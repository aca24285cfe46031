"""Drawing utterances so that every class is equally likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_weights(classes: Sequence[int]) -> Tensor:
    """The weight of each utterance, (N,): the number of utterances by that of its class."""
    own = torch.tensor(classes)
    counts = torch.bincount(own)
    return len(own) / counts[own].double()


def draw_balanced(weights: Tensor, generator: torch.Generator) -> Tensor:
    """As many positions as there are weights (N,), drawn with replacement."""
    return torch.multinomial(weights, len(weights), replacement=True, generator=generator)
