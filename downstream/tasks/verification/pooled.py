"""Heads on what is pooled over time: as it is, whitened, fitted to training speakers, or embedded linearly."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.tasks.head import Head
from downstream.tasks.verification.closed_form import (
    Shrinkage,
    TwoCovariances,
    discriminants,
    whitening,
    within_speakers,
)
from downstream.tasks.verification.recipe import WHITENED
from downstream.tasks.verification.xvector import AMSoftmax
from downstream.tasks.weighted_sum import WeightedSum
from upstream.base import HiddenStates, States


def pooled_width(dim: int, pooling: str) -> int:
    """Return the width of what is pooled of states (T, dim): of their mean, or of mean and standard deviation."""
    return 2 * dim if pooling == "statistics" else dim


class PooledHead(Head):
    """Mean, or mean and standard deviation, of each layer; then the weighted sum of layers, or one.

    width: of what is pooled, D or 2 D.
    """

    def __init__(self, num_layers: int, dim: int, pooling: str, layer: int | None) -> None:
        """num_layers, dim: L and D of the upstream; pooling: "mean" or "statistics"."""
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, layer)
        self.pooling = pooling
        self.width = pooled_width(dim, pooling)

    def summed_up(self, states: States) -> Tensor:
        """Return what is pooled of each layer, (L, B, width)."""
        return self.pooled(states)

    def pooled(self, states: States) -> Tensor:
        """Return what is pooled of each layer, (L, B, width); states that are no frames are pooled already.

        Those are statistics where the mean is asked for, too: it comes first in them, and all ways share one store.
        """
        if not isinstance(states, HiddenStates):
            return states[:, :, : self.width]
        return (states.statistics() if self.pooling == "statistics" else states.means()).transpose(0, 1)


class LinearHead(PooledHead):
    """A linear embedding of standardised vectors, trained with the AM-softmax.

    centre, scale: (L, width), mean and standard deviation of each layer's vectors over the training utterances.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        num_layers: int,
        dim: int,
        pooling: str,
        layer: int | None,
        num_speakers: int,
        embedding: int,
        scale: float,
        margin: float,
    ) -> None:
        """embedding: its width; scale, margin: of the AM-softmax. Build it by `initialised`."""
        super().__init__(num_layers, dim, pooling, layer)
        self.register_buffer("centre", torch.zeros(num_layers, self.width))
        self.register_buffer("scale", torch.ones(num_layers, self.width))
        self.projection = nn.Linear(self.width, embedding)
        self.objective = AMSoftmax(embedding, num_speakers, scale, margin)

    def forward(self, states: States) -> Tensor:
        """States -> embeddings (B, E)."""
        embeddings: Tensor = self.projection(self.weighted_sum(self.summed_up(states)))
        return embeddings

    def summed_up(self, states: States) -> Tensor:
        """Return what is pooled of each layer, standardised, (L, B, width)."""
        return (self.pooled(states) - self.centre[:, None]) / self.scale[:, None]

    def standardise(self, centre: Tensor, scale: Tensor) -> None:
        """Set the buffers, (L, width) each."""
        self.centre.copy_(centre)
        self.scale.copy_(scale)

    def losses(self, states: States, speakers: Tensor) -> Tensor:
        """Return the loss of each utterance, (B,); speakers: (B,) int64, the class of its speaker."""
        losses: Tensor = self.objective(self(states), speakers)
        return losses


class ClosedFormHead(PooledHead):
    """A head without gradients: an affine map of what is pooled, whose buffers are fitted.

    centre: (width,), subtracted. map: (width, E), applied behind it. Either may be missing.
    """

    centre: Tensor | None
    map: Tensor | None

    def __init__(
        self, num_layers: int, dim: int, pooling: str, layer: int | None, centred: bool, outputs: int | None
    ) -> None:
        """outputs: E, or None for no map."""
        super().__init__(num_layers, dim, pooling, layer)
        self.weighted_sum.requires_grad_(False)
        self.register_buffer("centre", torch.zeros(self.width) if centred else None)
        self.register_buffer("map", torch.zeros(self.width, outputs) if outputs else None)

    def mixed(self, states: States) -> Tensor:
        """Return what the map is applied to, (B, width)."""
        vectors: Tensor = self.weighted_sum(self.pooled(states))
        return vectors

    def forward(self, states: States) -> Tensor:
        """States -> embeddings (B, E)."""
        vectors = self.mixed(states)
        if self.centre is not None:
            vectors = vectors - self.centre
        return vectors if self.map is None else vectors @ self.map

    def fit(self, vectors: Tensor, speakers: Tensor) -> None:
        """Set the buffers from what is `mixed` of training utterances, (U, width) float64, of speakers (U,)."""
        if self.centre is not None:
            self.centre.copy_(vectors.mean(dim=0))
        if self.map is not None:
            self.map.copy_(self.fitted_map(vectors, speakers))

    def fitted_map(self, vectors: Tensor, speakers: Tensor) -> Tensor:
        """Return the map (width, E) for training vectors (U, width) float64 of speakers (U,)."""
        raise NotImplementedError


class CosineHead(ClosedFormHead):
    """The vectors themselves; centred, whitened by their covariance, or by that within speakers (WCCN).

    Hatch, Kajarekar & Stolcke, "Within-class covariance normalization for SVM-based speaker recognition", Interspeech
    2006.
    """

    def __init__(
        self, num_layers: int, dim: int, pooling: str, layer: int | None, transform: str, shrinkage: Shrinkage
    ) -> None:
        outputs = pooled_width(dim, pooling) if transform in WHITENED else None
        super().__init__(num_layers, dim, pooling, layer, centred=transform != "none", outputs=outputs)
        self.transform, self.shrinkage = transform, shrinkage

    def fitted_map(self, vectors: Tensor, speakers: Tensor) -> Tensor:
        is_within = self.transform == "wccn"
        differences = within_speakers(vectors, speakers) if is_within else vectors - vectors.mean(dim=0)
        return whitening(differences, self.shrinkage)


class LDAHead(ClosedFormHead):
    """Linear discriminant analysis: the directions in which the training speakers differ most."""

    def __init__(
        self, num_layers: int, dim: int, pooling: str, layer: int | None, directions: int, shrinkage: Shrinkage
    ) -> None:
        super().__init__(num_layers, dim, pooling, layer, centred=True, outputs=directions)
        self.directions, self.shrinkage = directions, shrinkage

    def fitted_map(self, vectors: Tensor, speakers: Tensor) -> Tensor:
        return discriminants(vectors, speakers, self.shrinkage, self.directions)


class PLDAHead(LDAHead):
    """Probabilistic LDA: discriminants of unit length, and the log likelihood ratio of one speaker to two.

    Lengths are normalised as by Garcia-Romero & Espy-Wilson, Interspeech 2011; the model is `TwoCovariances`. An
    embedding has a number for each direction and one more, so that the ratio of two is the inner product of the first
    and the sum of the last ones.

    middle, rotation: of the discriminants, to independent dimensions; product, square, constant: a, b and c of the
    ratio (`TwoCovariances.weights`).
    """

    middle: Tensor
    rotation: Tensor
    product: Tensor
    square: Tensor
    constant: Tensor

    def __init__(
        self, num_layers: int, dim: int, pooling: str, layer: int | None, directions: int, shrinkage: Shrinkage
    ) -> None:
        super().__init__(num_layers, dim, pooling, layer, directions, shrinkage)
        for name in ("middle", "product", "square"):
            self.register_buffer(name, torch.zeros(directions))
        self.register_buffer("rotation", torch.zeros(directions, directions))
        self.register_buffer("constant", torch.zeros(()))

    def forward(self, states: States) -> Tensor:
        """States -> embeddings (B, directions + 1)."""
        own = (self.normalised(super().forward(states)) - self.middle) @ self.rotation
        offsets = (self.constant - (self.square * own.square()).sum(dim=1)) / 2
        return torch.cat([self.product * own, offsets[:, None]], dim=1)

    def normalised(self, vectors: Tensor) -> Tensor:
        """Return vectors (B, directions) with the length that normal ones have on average."""
        return F.normalize(vectors, dim=1) * math.sqrt(self.directions)

    def fit(self, vectors: Tensor, speakers: Tensor) -> None:
        super().fit(vectors, speakers)
        assert self.centre is not None
        assert self.map is not None
        discriminated = self.normalised((vectors - self.centre.double()) @ self.map.double())
        model = TwoCovariances.of(discriminated, speakers, self.shrinkage)
        self.middle.copy_(model.centre)
        self.rotation.copy_(model.map)
        for buffer, value in zip((self.product, self.square, self.constant), model.weights(), strict=True):
            buffer.copy_(value)
