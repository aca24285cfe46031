"""GELU, its dropout and the product behind it, where they learn.

Behind GELU lie the widest tensors of a block. Autograd would keep two of them, or three with dropout; here its input
alone is kept. The backward pass computes GELU again and draws the same zeros again, but needs no product twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from upstream.wavlm.dropout import Dropouts, scale_of

Draw = Callable[[], Tensor]  # the zeros of a dropout, (N, K) bool


def narrowed(wide: Tensor, weight: Tensor, bias: Tensor, probability: float, dropouts: Dropouts | None) -> Tensor:
    """Return dropout(GELU(wide)) Wᵀ + b, (N, D), in the precision of `wide`, (N, K).

    probability: of the dropout. dropouts: of the block; None for no dropout.
    """
    draw = None
    if dropouts is not None and probability:
        draw = partial(dropouts.zeros_of_rows, wide.shape[1], probability, "activation", wide.device)
    result: Tensor = _Narrowed.apply(wide, weight, bias, probability, draw)  # type: ignore[no-untyped-call]
    return result


class _Narrowed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, wide: Tensor, weight: Tensor, bias: Tensor, probability: float, draw: Draw | None) -> Tensor:
        """wide: (N, K). weight: (D, K). bias: (D,)."""
        with torch.autocast(wide.device.type, enabled=False):
            own = weight.to(wide.dtype)
            ctx.save_for_backward(wide, weight)
            ctx.probability, ctx.draw = probability, draw
            activated = _dropped(F.gelu(wide), None if draw is None else draw(), probability)
            return F.linear(activated, own, bias.to(wide.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """gradient: (N, D)."""
        wide, weight = ctx.saved_tensors
        zeros = None if ctx.draw is None else ctx.draw()
        with torch.autocast(wide.device.type, enabled=False):
            activated = _dropped(F.gelu(wide), zeros, ctx.probability)
            of_weight = (activated.T @ gradient).T.to(weight.dtype)
            of_activated = _dropped(gradient @ weight.to(wide.dtype), zeros, ctx.probability)
            of_wide = torch.ops.aten.gelu_backward(of_activated, wide)
            return of_wide, of_weight, gradient.sum(0).to(weight.dtype), None, None


def _dropped(x: Tensor, zeros: Tensor | None, probability: float) -> Tensor:
    return x if zeros is None else x.masked_fill_(zeros, 0.0).mul_(scale_of(probability))
