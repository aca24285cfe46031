"""The learned mix of layers that every head reads (SUPERB's featurizer)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from upstream.errors import UserError


class WeightedSum(nn.Module):
    """Softmax-weighted sum over the layers, or one layer alone.

    One scalar a layer, zero at the start, so that all layers weigh the same; learned with the head.
    Yang et al. 2021, SUPERB, section 3; no scaling and no projection follow.
    """

    def __init__(self, num_layers: int, layer: int | None = None) -> None:
        """layer: index of the only layer to use (negative counts from the last); None to mix them all."""
        super().__init__()
        self.num_layers = num_layers
        self.layer = None if layer is None else layer_index(layer, num_layers)
        self.weights = nn.Parameter(torch.zeros(num_layers), requires_grad=layer is None)

    def forward(self, layers: Tensor) -> Tensor:
        """(L, …, D) -> (…, D)."""
        if self.layer is not None:
            return layers[self.layer]
        mixed: Tensor = torch.tensordot(self.weights.softmax(dim=0), layers, dims=1)
        return mixed

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
