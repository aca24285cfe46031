"""What a family of tasks says to whatever learns its heads."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from upstream.base import HiddenStates
from upstream.weighted_sum import WeightedSum

# A batch of states: per-layer means (L, B, D), or all frames.
States = Tensor | HiddenStates


class Head(nn.Module):
    """What is learned on an upstream's states; every head begins with the mix of layers."""

    weighted_sum: WeightedSum


class Task(Protocol):
    """A family of tasks on one corpus: it knows the targets of every utterance by the utterance's index."""

    def build(self, seed: int, layer: int | None) -> Head:
        """A head with first weights drawn from `seed`, on one layer or on the mix of all."""

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        """The loss of each utterance of a batch, (B,); utterances: (B,) indices."""

    def predict(self, head: Head, states: States) -> Tensor:
        """What `score` takes of a batch, one row an utterance, (B, …)."""

    def score(self, predictions: Tensor, utterances: Tensor) -> float:
        """The development score of predictions (U, …) for utterances (U,); the higher the better."""
