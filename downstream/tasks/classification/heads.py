"""Heads that classify whole utterances: SUPERB's, for emotion, keywords, intents and speakers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.tasks.head import Head
from downstream.tasks.weighted_sum import WeightedSum
from upstream.base import HiddenStates, States

PROJECTION = 256  # width of the first linear layer; s3prl, downstream/emotion and speech_commands


class UtteranceClassifier(Head):
    """Weighted sum of layers, linear projection, mean over frames, linear output (SUPERB, s3prl's emotion task).

    All of this is affine up to the mean, and weights that sum to one and a mean over time commute with affine
    maps: the logits of an utterance are a function of its per-layer means alone. Training on means therefore
    gives the same logits and gradients as training on frames, 150 times cheaper for a 3-second utterance.
    """

    is_affine = True  # in per-layer means, which are then enough

    def __init__(
        self,
        num_layers: int,
        dim: int,
        projection: int,
        num_classes: int,
        seed: int,
        layer: int | None = None,
        standardised: bool = False,
    ) -> None:
        """projection: width between the two linear maps, 256 in SUPERB; layer: one layer instead of the sum.

        standardised: whether layers are standardised before they are summed.
        """
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weighted_sum = WeightedSum(num_layers, layer, dim if standardised else None)
        self.projection = seeded_linear(dim, projection, generator)
        self.output = seeded_linear(projection, num_classes, generator)

    def forward(self, states: States) -> Tensor:
        """Per-layer means (L, B, D), or all frames, -> logits (B, C)."""
        if isinstance(states, HiddenStates):
            return self.on_frames(states.layers, states.lengths)
        logits: Tensor = self.output(self.projection(self.weighted_sum(states)))
        return logits

    def on_frames(self, layers: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states (L, B, T, D) with valid frames (B,) -> logits (B, C), without the shortcut over means."""
        projected = self.projection(self.weighted_sum(layers))  # (B, T, projection)
        valid = torch.arange(layers.shape[2], device=layers.device) < lengths.to(layers.device)[:, None]
        logits: Tensor = self.output(self.pool(projected, valid))
        return logits

    def summed_up(self, states: States) -> Tensor:
        """Return what layers are summed of, (L, N, D): the means of utterances; frames where pooling needs them."""
        if self.is_affine and isinstance(states, HiddenStates):
            states = states.means().transpose(0, 1)
        return super().summed_up(states)

    def pool(self, projected: Tensor, valid: Tensor) -> Tensor:
        """Projected frames (B, T, P), of which `valid` (B, T) are not padding -> (B, P)."""
        return (projected * valid[:, :, None]).sum(dim=1) / valid.sum(dim=1, keepdim=True).to(projected)


class AttentivePoolingClassifier(UtteranceClassifier):
    """The same with self-attentive pooling: a learned weight per frame instead of the mean over frames.

    The weight of a frame is the softmax, over the frames of its utterance, of a linear score of the projected frame
    (Safari, India & Hernando, "Self-attention encoding and pooling for speaker recognition", Interspeech 2020). The
    score is zero at the start, so that training starts from the mean.
    """

    is_affine = False

    def __init__(
        self,
        num_layers: int,
        dim: int,
        projection: int,
        num_classes: int,
        seed: int,
        layer: int | None = None,
        standardised: bool = False,
    ) -> None:
        super().__init__(num_layers, dim, projection, num_classes, seed, layer, standardised)
        self.attention = nn.Parameter(torch.zeros(projection))

    def pool(self, projected: Tensor, valid: Tensor) -> Tensor:
        scores = (projected @ self.attention).masked_fill(~valid, -math.inf)
        return (scores.softmax(dim=1)[:, :, None] * projected).sum(dim=1)


HEADS = {"mean": UtteranceClassifier, "attention": AttentivePoolingClassifier}  # by head.pooling


def classifier(
    settings: ClassifierSettings, num_layers: int, dim: int, num_classes: int, seed: int, layer: int | None
) -> UtteranceClassifier:
    """Return the head that a recipe asks for, with initial weights drawn from `seed`."""
    width = settings.projection or PROJECTION
    return HEADS[settings.pooling](num_layers, dim, width, num_classes, seed, layer, settings.standardised)


def seeded_linear(dim_in: int, dim_out: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with PyTorch's default initial values, uniform within ±1/√dim_in, from `generator`."""
    with torch.device("meta"):  # the constructor would draw from the global generator
        linear = nn.Linear(dim_in, dim_out)
    linear.to_empty(device="cpu")
    bound = 1.0 / math.sqrt(dim_in)
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.uniform_(-bound, bound, generator=generator)
    return linear
