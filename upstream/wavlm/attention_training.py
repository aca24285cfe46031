"""Attention with WavLM's position bias where it learns: with gradients, and with dropout of the attention weights.

Squares of frames are the largest tensors of a training, and of these autograd would keep five for every head: biases,
scores, weights, zeros and what dropout left. Here none is kept. The backward pass computes the weights again, which is
a small part of the network's work, and draws the same zeros again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from upstream.wavlm.attention_kernels import LARGEST_BLOCK, LARGEST_BLOCK_ON_GPU, bias_of_sums
from upstream.wavlm.dropout import Dropouts, scale_of

# Draws the zeros of one part of an utterance's attention weights: its number and its shape to a boolean tensor.
Draw = Callable[[int, Sequence[int], torch.device], Tensor]


def attend_in_training(
    projected: Tensor,
    gate: Tensor,
    by_distance: Tensor,
    lengths: Sequence[int],
    probability: float = 0.0,
    dropouts: Dropouts | None = None,
) -> Tensor:
    """Return what `attend_one_by_one` does, (N, D), in the precision of `projected`.

    probability: with which an attention weight is set to zero. dropouts: of the block; None for no dropout.
    """
    parts = zip(torch.split(projected, list(lengths)), torch.split(gate, list(lengths)), strict=True)
    attended = []
    for index, (frames, gates) in enumerate(parts):
        draw = partial(dropouts.zeros, index, probability, "attention") if dropouts and probability else None
        bias = bias_of_sums(by_distance, len(frames))
        attended.append(_Attention.apply(frames, gates, bias, probability, draw))  # type: ignore[no-untyped-call]
    return torch.cat(attended)


class _Attention(torch.autograd.Function):
    """Attention of one utterance of T frames, a few heads at a time.

    In all of it keys are counted from the last one, so that the bias of a query and a key depends on the sum of their
    numbers; see `bias_of_sums`.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, gate: Tensor, bias: Tensor, probability: float, draw: Draw | None
    ) -> Tensor:
        """projected: (T, 3, H, head_dim). gate: (T, H). bias: (H, 2 T - 1). Returns (T, H · head_dim)."""
        ctx.save_for_backward(projected, gate, bias)
        ctx.probability, ctx.draw = probability, draw
        frames, _, heads, head_dim = projected.shape
        attended = projected.new_empty(frames, heads, head_dim)
        with torch.autocast(projected.device.type, enabled=False):
            for number, part in enumerate(_parts(projected)):
                weights = _weights(projected, gate, bias, part).to(projected.dtype)
                if draw is not None:
                    weights.masked_fill_(draw(number, weights.shape, weights.device), 0.0).mul_(scale_of(probability))
                attended[:, part] = torch.bmm(weights, _values(projected, part)).transpose(0, 1)
        return attended.view(frames, heads * head_dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """gradient: (T, H · head_dim)."""
        projected, gate, bias = ctx.saved_tensors
        frames, _, heads, head_dim = projected.shape
        gradient = gradient.view(frames, heads, head_dim)
        of_projected = torch.empty_like(projected)
        of_gate, of_bias = torch.empty_like(gate), torch.empty_like(bias)
        with torch.autocast(projected.device.type, enabled=False):
            for number, part in enumerate(_parts(projected)):
                weights = _weights(projected, gate, bias, part)
                own = gradient[:, part].transpose(0, 1)
                of_weights = torch.bmm(own, _values(projected, part).mT)
                kept = weights.to(projected.dtype)
                if ctx.draw is not None:
                    zeros, scale = ctx.draw(number, weights.shape, weights.device), scale_of(ctx.probability)
                    kept = kept.masked_fill(zeros, 0.0).mul_(scale)
                    of_weights.masked_fill_(zeros, 0.0).mul_(scale)
                of_values = torch.bmm(kept.mT, own)
                of_scores = torch._softmax_backward_data(of_weights.to(weights.dtype), weights, -1, weights.dtype)
                of_gate[:, part], of_bias[part] = _of_gated_bias(of_scores, gate[:, part].T, bias[part])
                queries, keys = _queries(projected, part), _keys(projected, part)
                of_scores = of_scores.to(projected.dtype)
                of_projected[:, 0, part] = torch.bmm(of_scores, keys).mul_(head_dim**-0.5).transpose(0, 1)
                of_projected[:, 1, part] = torch.bmm(of_scores.mT, queries).flip(1).transpose(0, 1)
                of_projected[:, 2, part] = of_values.flip(1).transpose(0, 1)
        return of_projected, of_gate, of_bias, None, None


def _parts(projected: Tensor) -> Iterator[slice]:
    """Yield groups of heads whose scores stay in the cache of a CPU, or fit into the memory of a GPU."""
    frames, _, heads, _ = projected.shape
    largest = LARGEST_BLOCK if projected.device.type == "cpu" else LARGEST_BLOCK_ON_GPU
    size = max(1, largest // frames**2)
    for first in range(0, heads, size):
        yield slice(first, min(first + size, heads))


def _queries(projected: Tensor, part: slice) -> Tensor:
    """Return the scaled queries of some heads, (h, T, head_dim)."""
    scaled: Tensor = projected[:, 0, part] * projected.shape[-1] ** -0.5
    return scaled.transpose(0, 1)


def _keys(projected: Tensor, part: slice) -> Tensor:
    """Return the keys of some heads, the last one first, (h, T, head_dim)."""
    return projected[:, 1, part].flip(0).transpose(0, 1)


def _values(projected: Tensor, part: slice) -> Tensor:
    """Return the values of some heads, the last one first, (h, T, head_dim)."""
    return projected[:, 2, part].flip(0).transpose(0, 1)


def _weights(projected: Tensor, gate: Tensor, bias: Tensor, part: slice) -> Tensor:
    """Return the attention weights of some heads, (h, T, T) float32: softmax loses too much in half precision."""
    frames = len(projected)
    windows = bias[part].float().unfold(1, frames, 1)
    scores: Tensor = torch.mul(gate[:, part].T[:, :, None].float(), windows, out=windows.new_empty(windows.shape))
    queries, keys = _queries(projected, part), _keys(projected, part)
    if projected.dtype == torch.float32:
        scores.baddbmm_(queries, keys.mT)
    else:
        scores += torch.bmm(queries, keys.mT)
    torch.softmax(scores, dim=-1, out=scores)
    return scores


def _of_gated_bias(of_scores: Tensor, gate: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate, (T, h), and bias, (h, 2 T - 1), from those of the scores, (h, T, T).

    Rows that are filled up to 2 T and read as rows of 2 T - 1 are shifted by one place each. The column of a query and
    a key is then the sum of their numbers, the place of their bias, so both gradients are products with vectors.
    """
    heads, frames, _ = of_scores.shape
    filled = of_scores.new_zeros(heads, frames, 2 * frames)
    filled[:, :, :frames] = of_scores
    shifted = filled.view(heads, -1)[:, : frames * (2 * frames - 1)].view(heads, frames, 2 * frames - 1)
    of_gate = torch.bmm(shifted, bias.float()[:, :, None])[:, :, 0].T
    of_bias = torch.bmm(gate.float()[:, None], shifted)[:, 0]
    return of_gate, of_bias
