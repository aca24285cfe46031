"""Classifying whole utterances: SUPERB's head for emotion, keywords, intents and speakers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.weighted_sum import WeightedSum


class UtteranceClassifier(nn.Module):
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

    def forward(self, means: Tensor) -> Tensor:
        """Per-layer means (L, B, D) -> logits (B, C)."""
        logits: Tensor = self.output(self.projection(self.weighted_sum(means)))
        return logits

    def on_frames(self, layers: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states (L, B, T, D) with valid frames (B,) -> logits (B, C): the long way round."""
        projected = self.projection(self.weighted_sum(layers))  # (B, T, projection)
        valid = torch.arange(layers.shape[2], device=layers.device) < lengths.to(layers.device)[:, None]
        pooled = (projected * valid[:, :, None]).sum(dim=1) / lengths.to(projected)[:, None]
        logits: Tensor = self.output(pooled)
        return logits


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


def weighted_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Σ weight · cross entropy, a scalar; logits (B, C), targets (B,), weights (B,) that sum to one."""
    return (weights * F.cross_entropy(logits, targets, reduction="none")).sum()
