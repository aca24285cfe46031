"""The weighted sum of a head as transformers has it: one weight a layer, and one linear layer behind the sum.

A head that standardises layers reads P Σₗ wₗ (hₗ - cₗ) / sₗ + b, with a scale sₗ for every feature of every layer. With
weights of layers alone, P' Σₗ w'ₗ hₗ + b' is that exactly where wₗ / sₗ = aₗ r for numbers aₗ and one vector r of
features: for a single layer, for layers as they are, and for scales that differ by a factor a layer. Then w' = a / Σ a,
P' = P diag(r) Σ a and b' = b - P Σₗ wₗ cₗ / sₗ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from downstream.tasks import WeightedSum
from upstream.errors import UserError

ALIKE = 1e-6  # relative, of float32 scales that are products
NEVER = -1e4  # a layer weight whose softmax is 0 in float32


@dataclass(frozen=True)
class FoldedSum:
    """Layer weights before their softmax, (L,), None to read the last layer alone; and the linear layer that reads.

    is_folded: True where a standardisation went into the linear layer.
    """

    layer_weights: Tensor | None
    weight: Tensor
    bias: Tensor
    is_folded: bool


def folded(own: WeightedSum, weight: Tensor, bias: Tensor) -> FoldedSum:
    """Return the sum of a head in front of its linear layer, weight (P, D) and bias (P,), in transformers' form.

    Raises UserError where a standardisation cannot be expressed there.
    """
    shares, scale = torch.tensor(own.proportions(), dtype=torch.float64), own.scale
    if scale is None or own.centre is None:
        return FoldedSum(layer_weights_of(own), weight, bias, is_folded=False)
    spread = shares[:, None] / scale.double()  # (L, D)
    vector = spread[int(shares.argmax())]
    factors = spread @ vector / vector.square().sum()  # (L,)
    if bool((spread - factors[:, None] * vector).abs().max() > ALIKE * spread.abs().max()):
        raise UserError(
            "The head brings each feature of each layer to mean 0 and deviation 1 before layers are summed, and the "
            "deviations of its layers differ feature by feature; a task model of transformers has one weight a layer, "
            "so that it cannot have this sum. A head on one layer can be carried (-l N), and so can one learned with "
            "-o head.standardised=false."
        )
    centred = (shares[:, None] * own.centre.double() / scale.double()).sum(dim=0)  # (D,)
    total = factors.sum()
    is_alone = own.layer is not None
    logits = layer_weights_of(own) if is_alone else (factors / total).clamp(min=torch.finfo(torch.float32).tiny).log()
    return FoldedSum(
        None if logits is None else logits.float(),
        (weight.double() * vector * total).float(),
        (bias.double() - weight.double() @ centred).float(),
        is_folded=True,
    )


def layer_weights_of(own: WeightedSum) -> Tensor | None:
    """Return the weights of layers before their softmax; None for the last layer alone, the encoder's output."""
    if own.layer is None:
        return own.weights.detach()
    if own.layer == own.num_layers - 1:
        return None
    alone = torch.full((own.num_layers,), NEVER)
    alone[own.layer] = 0.0
    return alone
