"""Attention with WavLM's position bias in training: with dropout, and with gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from upstream.wavlm.attention_kernels import bias_of_reversed_keys
from upstream.wavlm.dropout import scale_of, zeros_of


def attend_in_training(
    projected: Tensor,
    gate: Tensor,
    by_distance: Tensor,
    lengths: Sequence[int],
    dropout: float,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Return what `attend` does, with dropout of the attention weights.

    dropout: fraction of the attention weights that is set to zero, drawn from each utterance's generator.
    """
    parts = zip(torch.split(projected, list(lengths)), torch.split(gate, list(lengths)), generators, strict=True)
    return torch.cat([_attend_one(own, gates, by_distance, dropout, generator) for own, gates, generator in parts])


def _attend_one(
    projected: Tensor, gate: Tensor, by_distance: Tensor, dropout: float, generator: torch.Generator
) -> Tensor:
    frames, _, heads, head_dim = projected.shape
    queries, keys, values = projected.permute(1, 2, 0, 3)
    bias = bias_of_reversed_keys(by_distance, frames).flip(-1)
    scores = torch.matmul(queries * head_dim**-0.5, keys.mT).float() + gate.T[:, :, None].float() * bias
    weights = scores.softmax(dim=-1).to(values.dtype)
    if dropout:
        weights = weights.masked_fill(zeros_of(weights.shape, dropout, generator), 0.0) * scale_of(dropout)
    return torch.matmul(weights, values).transpose(0, 1).reshape(frames, heads * head_dim)
