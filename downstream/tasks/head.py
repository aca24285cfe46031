"""The head: the model that learns from an upstream's states, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from downstream.tasks.weighted_sum import WeightedSum
from upstream.base import HiddenStates, States

# Predictions of one head for U utterances: a tensor (…) each, or one (U, …) where all have the same shape.
Predictions = Sequence[Tensor] | Tensor


class Head(nn.Module):
    """Model trained on an upstream's states; every head begins with the weighted sum of layers."""

    weighted_sum: WeightedSum

    def summed_up(self, states: States) -> Tensor:
        """Return the vectors of each layer that the weighted sum reads, (L, N, D), not yet standardised.

        By default those of N frames, or of N utterances where the states are pooled already.
        """
        if not isinstance(states, HiddenStates):
            return states
        return torch.cat([states.utterance(index) for index in range(len(states.lengths))], dim=1)


AnyHead = TypeVar("AnyHead", bound=Head)


def initialised(seed: int, make: Callable[[], AnyHead]) -> AnyHead:
    """Return what `make` builds, with initial weights drawn from `seed`; PyTorch's global generator is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def as_rows(predictions: Predictions) -> Tensor:
    """Return predictions of the same shape as one tensor, (U, …)."""
    return predictions if isinstance(predictions, Tensor) else torch.stack(list(predictions))
