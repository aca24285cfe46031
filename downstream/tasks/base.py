"""What a family of tasks says to whatever learns its heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from upstream.base import HiddenStates
from upstream.weighted_sum import WeightedSum

# A batch of states: per-layer means (L, B, D), or all frames.
States = Tensor | HiddenStates

# What a head says of each of some utterances: (…) each, as one tensor where all are of one shape.
Predictions = Sequence[Tensor] | Tensor


class Head(nn.Module):
    """What is learned on an upstream's states; every head begins with the mix of layers."""

    weighted_sum: WeightedSum


AnyHead = TypeVar("AnyHead", bound=Head)


def initialised(seed: int, make: Callable[[], AnyHead]) -> AnyHead:
    """What `make` builds, its first weights drawn from `seed`; PyTorch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


class Task(Protocol):
    """A family of tasks on one corpus: it knows the targets of every utterance by the utterance's index."""

    def of_fold(self, train: Sequence[int]) -> Task:
        """The task where these utterances are trained on; itself, unless what heads tell apart depends on them."""

    def build(self, seed: int, layer: int | None) -> Head:
        """A head with first weights drawn from `seed`, on one layer or on the mix of all."""

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        """The loss of each utterance of a batch, (B,); utterances: (B,) indices."""

    def predict(self, head: Head, states: States) -> Predictions:
        """What `score` takes of a batch, one an utterance."""

    def score(self, predictions: Predictions, utterances: Tensor) -> float:
        """The development score of utterances (U,); the higher the better, so error rates are negative."""
