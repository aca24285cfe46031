"""Self-attention with WavLM's gated relative position bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.attention_kernels import attend
from upstream.wavlm.attention_training import attend_in_training
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.dropout import Dropouts
from upstream.wavlm.products import Linear


@lru_cache(maxsize=8)
def buckets(num_buckets: int, max_distance: int) -> Tensor:
    """Return the bucket of every distance key - query from `max_distance` down to its negative: (2·max_distance + 1,).

    Half of the buckets are for keys after the query. In each half, the first half of the buckets are single distances,
    and the rest grow logarithmically up to `max_distance`; larger distances share the last bucket (T5's scheme).
    Computed in Python's float64: a float32 logarithm could cross a boundary on some devices.
    """
    half = num_buckets // 2
    exact = half // 2
    logarithmic = (half - exact) / math.log(max_distance / exact)

    def bucket(distance: int) -> int:
        size = abs(distance)
        index = size if size < exact else min(exact + int(math.log(size / exact) * logarithmic), half - 1)
        return index + (half if distance > 0 else 0)

    return torch.tensor([bucket(r) for r in range(max_distance, -max_distance - 1, -1)])


class RelativePositions(nn.Module):
    """The position bias before gating, shared by all layers: a table (buckets, heads)."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.num_buckets, self.max_distance = config.num_buckets, config.max_bucket_distance
        self.weight = nn.Parameter(torch.empty(config.num_buckets, config.num_attention_heads))

    def forward(self) -> Tensor:
        """Return the bias of every distance key - query, largest first: (H, 2·max_distance + 1)."""
        index = buckets(self.num_buckets, self.max_distance).to(self.weight.device)
        return self.weight[index].T.contiguous()


class Attention(nn.Module):
    """Multi-head attention over each utterance of a packed batch."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_dim = config.hidden_size // self.heads
        self.dropout = config.attention_dropout
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = Linear(config.hidden_size, config.hidden_size)
        self.gate = nn.Linear(self.head_dim, 8)
        self.gate_constant = nn.Parameter(torch.empty(self.heads))

    def forward(
        self, x: Tensor, lengths: Sequence[int], by_distance: Tensor, dropouts: Dropouts | None = None
    ) -> Tensor:
        """Return the output of the heads, (N, D) -> (N, D), before the output projection `out`.

        x: the concatenated frames of the utterances. lengths: frames of each, N in total.
        by_distance: (H, 2·max_distance + 1) position bias of `RelativePositions`, before gating.
        dropouts: of training; None for none.
        """
        projected = self.qkv(x).view(len(x), 3, self.heads, self.head_dim)
        if torch.is_grad_enabled() or dropouts is not None:
            return attend_in_training(projected, self._gate(x), by_distance, lengths, self.dropout, dropouts)
        return attend(projected, self._gate(x), by_distance, lengths)

    def _gate(self, x: Tensor) -> Tensor:
        """Return the factor of the position bias for each query and head: (N, D) -> (N, H).

        The gate reads the attention's input, split into heads but not projected. Of its eight outputs only two
        sums of four are used, so the weights are summed first: (8, head_dim) -> (2, head_dim).
        gate = a · (b · constant - 1) + 2, with a and b the two sigmoids (Chi et al. 2022, XLM-E, section 3.2).
        """
        weight = self.gate.weight.view(2, 4, self.head_dim).sum(1)
        bias = self.gate.bias.view(2, 4).sum(1)
        logits = F.linear(x.view(len(x), self.heads, self.head_dim), weight, bias).float()
        a, b = torch.sigmoid(logits).unbind(-1)
        gate: Tensor = a * (b * self.gate_constant.float() - 1.0) + 2.0
        return gate.to(x.dtype)
