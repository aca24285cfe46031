"""The learned mix of layers that every head reads (SUPERB's featurizer)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from upstream.errors import UserError

NEGLIGIBLE = 1e-12  # share of a mean square below which a variance counts as none
LEAST_DEVIATION = 2e-5  # of a feature; means of filterbanks standardised over each utterance reach 1.2e-5 on RAVDESS


class WeightedSum(nn.Module):
    """Softmax-weighted sum over the layers, or one layer alone.

    One scalar a layer, zero at the start, so that all layers weigh the same; learned with the head.
    Yang et al. 2021, SUPERB, section 3; no scaling and no projection follow.

    centre, scale: (L, D) of each layer, subtracted and divided by before layers are summed; None for SUPERB's sum of
    the states as they are. Without them a layer of larger states weighs more than its weight says, and its weight
    grows for that alone, as a larger sum makes larger logits: docs/weighted_sum.md.
    """

    centre: Tensor | None
    scale: Tensor | None

    def __init__(self, num_layers: int, layer: int | None = None, standardised: int | None = None) -> None:
        """layer: index of the only layer to use (negative counts from the last); None to mix them all.

        standardised: D, to standardise layers by numbers that `standardise` sets; None to leave them as they are.
        """
        super().__init__()
        self.num_layers = num_layers
        self.layer = None if layer is None else layer_index(layer, num_layers)
        self.weights = nn.Parameter(torch.zeros(num_layers), requires_grad=layer is None)
        self.register_buffer("centre", None if standardised is None else torch.zeros(num_layers, standardised))
        self.register_buffer("scale", None if standardised is None else torch.ones(num_layers, standardised))

    def forward(self, layers: Tensor) -> Tensor:
        """(L, …, D) -> (…, D)."""
        if self.layer is not None:
            return self._prepared(layers[self.layer], self.layer)
        mixed: Tensor = torch.tensordot(self.weights.softmax(dim=0), self.prepared(layers), dims=1)
        return mixed

    def prepared(self, layers: Tensor, first: int = 0) -> Tensor:
        """Return what is summed, (L, …, D): the states of each layer, standardised where they are to be.

        first: number of the first of the layers, where only some that follow each other are given.
        """
        if self.centre is None:
            return layers
        return torch.stack([self._prepared(layer, index) for index, layer in enumerate(layers, first)])

    def _prepared(self, states: Tensor, layer: int) -> Tensor:
        """Return the states of one layer, (…, D), standardised where they are to be."""
        if self.centre is None or self.scale is None:
            return states
        return (states - self.centre[layer]) / self.scale[layer]

    def standardise(self, centre: Tensor, scale: Tensor) -> None:
        """Set the numbers that layers are standardised by, (L, D) each."""
        assert self.centre is not None
        assert self.scale is not None
        self.centre.copy_(centre)
        self.scale.copy_(scale)

    def proportions(self) -> list[float]:
        """Return the share of each layer; they sum to one."""
        if self.layer is not None:
            return [float(index == self.layer) for index in range(self.num_layers)]
        proportions: list[float] = self.weights.detach().softmax(dim=0).tolist()
        return proportions


def layer_index(layer: int, num_layers: int) -> int:
    """Return the index of a layer from the first; a negative one counts from the last.

    Raises UserError where there is no such layer.
    """
    if not -num_layers <= layer < num_layers:
        raise UserError(f"There is no layer {layer}: this upstream has {num_layers}, numbered 0 to {num_layers - 1}.")
    return layer % num_layers


def standardisation(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the vectors of batches (L, B, D), (L, D) each; 1 for constants.

    Constant is also what varies by rounding alone: means of features that were standardised over each utterance are
    1e-8 and not 0, and would become the noise of a processor at the size of speech.

    In float64, in one pass; batches: of training utterances.
    """
    count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for batch in batches:
        values = batch.double()
        count, total, squares = count + values.shape[1], total + values.sum(dim=1), squares + values.square().sum(dim=1)
    mean = total / count
    variance = squares / count - mean.square()
    is_constant = (variance <= NEGLIGIBLE * squares / count) | (variance <= LEAST_DEVIATION**2)
    return mean, torch.where(is_constant, 1.0, variance).sqrt()
