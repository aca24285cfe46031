"""Attention with WavLM's position bias where it learns: with gradients, and with dropout of the attention weights.

Squares of frames are the largest tensors of a training, and of these autograd would keep five for every head: biases,
scores, weights, zeros and what dropout left. Here none is kept. The backward pass computes the weights again, which is
a small part of the network's work, and draws the same zeros again.

Utterances of equal length that follow each other are a group, and computed together: B utterances of T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from upstream.wavlm.attention_kernels import LARGEST_BLOCK, LARGEST_BLOCK_ON_GPU, bias_of_sums
from upstream.wavlm.dropout import Dropouts, scale_of
from upstream.wavlm.equal_lengths import equal_runs

LARGEST_IN_CACHE = 2**18  # scores; the backward pass has five such tensors, 1 MB each


@dataclass(frozen=True)
class Part:
    """What of a group is computed at once: all heads of b utterances, or h heads of one; b · h squares of frames.

    number: of these heads, among the parts of one utterance.
    """

    utterances: slice
    heads: slice
    number: int


# Draws the zeros of a part's attention weights, (b, h, T, T) bool.
Draw = Callable[[Part, Sequence[int], torch.device], Tensor]


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
    runs = list(equal_runs(lengths))
    rows = [len(run) * lengths[run.start] for run in runs]
    attended = []
    for run, own, gates in zip(runs, torch.split(projected, rows), torch.split(gate, rows), strict=True):
        draw = partial(_zeros, dropouts, probability, run.start) if dropouts and probability else None
        group = len(run), lengths[run.start]
        tensors = own.view(*group, *own.shape[1:]), gates.view(*group, -1), bias_of_sums(by_distance, group[1])
        attended.append(_Attention.apply(*tensors, probability, draw))  # type: ignore[no-untyped-call]
    return torch.cat(attended)


def _zeros(
    dropouts: Dropouts, probability: float, first: int, part: Part, shape: Sequence[int], device: torch.device
) -> Tensor:
    """Return the zeros of a part, (b, h, T, T). first: number of the group's first utterance. shape: (h, T, T)."""
    utterances = range(first + part.utterances.start, first + part.utterances.stop)
    drawn = [dropouts.zeros(one, probability, "attention", part.number, shape, device) for one in utterances]
    return torch.stack(drawn)


class _Attention(torch.autograd.Function):
    """Attention of one group, some utterances or a few heads at a time.

    In all of it keys are counted from the last one, so that the bias of a query and a key depends on the sum of their
    numbers; see `bias_of_sums`.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, gate: Tensor, bias: Tensor, probability: float, draw: Draw | None
    ) -> Tensor:
        """projected: (B, T, 3, H, head_dim). gate: (B, T, H). bias: (H, 2 T - 1). Returns (B · T, H · head_dim)."""
        ctx.save_for_backward(projected, gate, bias)
        ctx.probability, ctx.draw = probability, draw
        utterances, frames, _, heads, head_dim = projected.shape
        attended = projected.new_empty(utterances, frames, heads, head_dim)
        with torch.autocast(projected.device.type, enabled=False):
            for part in _parts(projected, drawn=draw is not None):
                weights = _weights(projected, gate, bias, part).to(projected.dtype)
                if draw is not None:
                    zeros = draw(part, weights.shape[1:], weights.device)
                    weights.masked_fill_(zeros, 0.0).mul_(scale_of(probability))
                values = _values(projected, part)
                attended[part.utterances, :, part.heads] = _product(weights, values).transpose(1, 2)
        return attended.view(utterances * frames, heads * head_dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """gradient: (B · T, H · head_dim)."""
        projected, gate, bias = ctx.saved_tensors
        head_dim = projected.shape[-1]
        gradient = gradient.view(*projected.shape[:2], *projected.shape[3:])
        of_projected = torch.empty_like(projected)
        of_gate, of_bias = torch.empty_like(gate), torch.zeros_like(bias)
        with torch.autocast(projected.device.type, enabled=False):
            for part in _parts(projected, drawn=ctx.draw is not None):
                some, heads = part.utterances, part.heads
                weights = _weights(projected, gate, bias, part)
                own = gradient[some, :, heads].transpose(1, 2)
                of_weights = _product(own, _values(projected, part).mT)
                kept = weights.to(projected.dtype)
                if ctx.draw is not None:
                    zeros, scale = ctx.draw(part, weights.shape[1:], weights.device), scale_of(ctx.probability)
                    kept = kept.masked_fill(zeros, 0.0).mul_(scale)
                    of_weights.masked_fill_(zeros, 0.0).mul_(scale)
                of_values = _product(kept.mT, own)
                of_scores = torch._softmax_backward_data(of_weights.to(weights.dtype), weights, -1, weights.dtype)
                gates, biases = _of_gated_bias(of_scores, gate[some, :, heads].transpose(1, 2), bias[heads])
                of_gate[some, :, heads] = gates.transpose(1, 2)
                of_bias[heads] += biases
                queries, keys = _queries(projected, part), _keys(projected, part)
                of_scores = of_scores.to(projected.dtype)
                of_queries = _product(of_scores, keys).mul_(head_dim**-0.5)
                of_projected[some, :, 0, heads] = of_queries.transpose(1, 2)
                of_projected[some, :, 1, heads] = _product(of_scores.mT, queries).flip(2).transpose(1, 2)
                of_projected[some, :, 2, heads] = of_values.flip(2).transpose(1, 2)
        return of_projected, of_gate, of_bias, None, None


def _parts(projected: Tensor, drawn: bool) -> Iterator[Part]:
    """Yield parts whose scores stay in the cache of a CPU, or fit into the memory of a GPU.

    drawn: zeros are drawn for each part; these are the heads for which they always were, so they are the same zeros.
    """
    utterances, frames, _, heads, _ = projected.shape
    on_cpu = projected.device.type == "cpu"
    fitting = (LARGEST_IN_CACHE if on_cpu else LARGEST_BLOCK_ON_GPU) // frames**2
    of_one = LARGEST_BLOCK // frames**2 if drawn and on_cpu else fitting
    size = min(max(1, of_one), heads)
    together = max(1, fitting // heads)
    for first in range(0, utterances, together):
        some = slice(first, min(first + together, utterances))
        for number, head in enumerate(range(0, heads, size)):
            yield Part(some, slice(head, min(head + size, heads)), number)


def _queries(projected: Tensor, part: Part) -> Tensor:
    """Return the scaled queries of a part, (b, h, T, head_dim)."""
    scaled: Tensor = projected[part.utterances, :, 0, part.heads] * projected.shape[-1] ** -0.5
    return scaled.transpose(1, 2)


def _keys(projected: Tensor, part: Part) -> Tensor:
    """Return the keys of a part, the last one first, (b, h, T, head_dim)."""
    return projected[part.utterances, :, 1, part.heads].flip(1).transpose(1, 2)


def _values(projected: Tensor, part: Part) -> Tensor:
    """Return the values of a part, the last one first, (b, h, T, head_dim)."""
    return projected[part.utterances, :, 2, part.heads].flip(1).transpose(1, 2)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of the matrices of each utterance and head, (b, h, ·, ·)."""
    return torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).view(*a.shape[:3], b.shape[3])


def _weights(projected: Tensor, gate: Tensor, bias: Tensor, part: Part) -> Tensor:
    """Return the attention weights of a part, (b, h, T, T) float32: softmax loses too much in half precision."""
    windows = bias[part.heads].float().unfold(1, projected.shape[1], 1)
    gates = gate[part.utterances, :, part.heads].transpose(1, 2)[..., None].float()
    scores: Tensor = torch.mul(gates, windows, out=windows.new_empty(len(gates), *windows.shape))
    queries, keys = _queries(projected, part), _keys(projected, part)
    if projected.dtype == torch.float32:
        scores.flatten(0, 1).baddbmm_(queries.flatten(0, 1), keys.flatten(0, 1).mT)
    else:
        scores += _product(queries, keys.mT)
    torch.softmax(scores, dim=-1, out=scores)
    return scores


def _of_gated_bias(of_scores: Tensor, gate: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate, (b, h, T), and bias, (h, 2 T - 1), from those of the scores, (b, h, T, T).

    Rows that are filled up to 2 T and read as rows of 2 T - 1 are shifted by one place each. The column of a query and
    a key is then the sum of their numbers, the place of their bias, so both gradients are products with vectors. These
    come first: a product that ends with one column takes ten times as long.
    """
    utterances, heads, frames, _ = of_scores.shape
    filled = of_scores.new_zeros(utterances, heads, frames, 2 * frames)
    filled[..., :frames] = of_scores
    sums = 2 * frames - 1
    shifted = filled.view(utterances, heads, -1)[..., : frames * sums].view(utterances, heads, frames, sums)
    of_gate = _product(bias.float()[:, None].expand(utterances, heads, 1, sums), shifted.mT)[:, :, 0]
    of_bias = _product(gate.float()[:, :, None], shifted)[:, :, 0].sum(0)
    return of_gate, of_bias
