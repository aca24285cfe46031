"""Classifying whole utterances: SUPERB's head for emotion, keywords, intents and speakers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.metrics import OF_CONFUSIONS, IntArray, confusion_matrix
from downstream.tasks.base import Head, Predictions, States
from upstream.base import HiddenStates
from upstream.weighted_sum import WeightedSum


class UtteranceClassifier(Head):
    """Weighted sum of layers, linear projection, mean over frames, linear output (SUPERB, s3prl's emotion task).

    All of this is affine up to the mean, and weights that sum to one and a mean over time commute with affine
    maps: the logits of an utterance are a function of its per-layer means alone. Training on means therefore
    gives the same logits and gradients as training on frames, 150 times cheaper for a 3-second utterance.
    """

    def __init__(
        self, num_layers: int, dim: int, projection: int, num_classes: int, seed: int, layer: int | None = None
    ) -> None:
        """projection: width between the two linear maps, 256 in SUPERB; layer: one layer instead of the sum."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weighted_sum = WeightedSum(num_layers, layer)
        self.projection = seeded_linear(dim, projection, generator)
        self.output = seeded_linear(projection, num_classes, generator)

    def forward(self, states: States) -> Tensor:
        """Per-layer means (L, B, D), or all frames, -> logits (B, C)."""
        if isinstance(states, HiddenStates):
            return self.on_frames(states.layers, states.lengths)
        logits: Tensor = self.output(self.projection(self.weighted_sum(states)))
        return logits

    def on_frames(self, layers: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states (L, B, T, D) with valid frames (B,) -> logits (B, C): the long way round."""
        projected = self.projection(self.weighted_sum(layers))  # (B, T, projection)
        valid = torch.arange(layers.shape[2], device=layers.device) < lengths.to(layers.device)[:, None]
        pooled = (projected * valid[:, :, None]).sum(dim=1) / lengths.to(projected)[:, None]
        logits: Tensor = self.output(pooled)
        return logits


@dataclass(frozen=True)
class Classification:
    """The family: one class an utterance, cross entropy.

    targets: (U,) int64, the class of every utterance of the corpus.
    select: the metric that is the development score.
    """

    num_layers: int
    dim: int
    projection: int
    num_classes: int
    targets: Tensor
    select: str = "accuracy"

    def of_fold(self, train: Sequence[int]) -> Classification:
        return self

    def build(self, seed: int, layer: int | None) -> UtteranceClassifier:
        return UtteranceClassifier(self.num_layers, self.dim, self.projection, self.num_classes, seed, layer)

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        logits = head(states)
        return F.cross_entropy(logits, self.targets[utterances].to(logits.device), reduction="none")

    def predict(self, head: Head, states: States) -> Tensor:
        """Posteriors, (B, C)."""
        posteriors: Tensor = head(states).softmax(dim=1)
        return posteriors

    def score(self, predictions: Predictions, utterances: Tensor) -> float:
        return OF_CONFUSIONS[self.select](self.confusion(predictions, utterances))

    def confusion(self, posteriors: Predictions, utterances: Tensor) -> IntArray:
        """Counts (truth, predicted), (C, C)."""
        predicted = as_rows(posteriors).argmax(dim=1)
        return confusion_matrix(self.targets[utterances].numpy(), predicted.cpu().numpy(), self.num_classes)


def as_rows(predictions: Predictions) -> Tensor:
    """Predictions of one shape as one tensor, (U, …)."""
    return predictions if isinstance(predictions, Tensor) else torch.stack(list(predictions))


def seeded_linear(dim_in: int, dim_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with PyTorch's default initial values, uniform within ±1/√dim_in, drawn from `generator`."""
    with torch.device("meta"):  # the constructor would draw from the global generator
        linear = nn.Linear(dim_in, dim_out)
    linear.to_empty(device="cpu")
    bound = 1.0 / math.sqrt(dim_in)
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.uniform_(-bound, bound, generator=generator)
    return linear
