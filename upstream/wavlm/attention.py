"""Self-attention with WavLM's gated relative position bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.attend import attend
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.products import Linear


@lru_cache(maxsize=8)
def buckets(num_buckets: int, max_distance: int) -> Tensor:
    """Bucket of every distance r = key - query from `max_distance` down to its negative: (2·max_distance + 1,).

    Half of the buckets are for keys after the query. Of each half, the first half is one bucket a distance
    and the rest grow logarithmically up to `max_distance`, beyond which all share the last (T5's scheme).
    Worked out in Python's float64: the float32 logarithm of some devices could fall across a boundary.
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
    """The position bias before its gate, shared by all layers: a table of buckets by heads."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.num_buckets, self.max_distance = config.num_buckets, config.max_bucket_distance
        self.weight = nn.Parameter(torch.empty(config.num_buckets, config.num_attention_heads))

    def forward(self) -> Tensor:
        """Bias of every distance, from a key far after the query to one far before it: (H, 2·max_distance + 1)."""
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

    def forward(self, x: Tensor, lengths: Sequence[int], by_distance: Tensor) -> Tensor:
        """(N, D) -> (N, D), what the heads gather; `out` of it is the layer's output.

        x: the frames of the utterances one after another; lengths: of each, N in all.
        by_distance: (H, 2·max_distance + 1) ungated position bias of `RelativePositions`.
        """
        projected = self.qkv(x).view(len(x), 3, self.heads, self.head_dim)
        return attend(projected, self._gate(x), by_distance, lengths, self.dropout if self.training else 0.0)

    def _gate(self, x: Tensor) -> Tensor:
        """How strongly each query of each head heeds position: (N, D) -> (N, H).

        The gate reads the attention's input, cut into heads but not projected. Of its eight outputs only two
        sums of four are used, so the sums are taken of the weights: (8, head_dim) -> (2, head_dim).
        gate = a · (b · constant - 1) + 2, with a and b the two sigmoids (Chi et al. 2022, XLM-E, section 3.2).
        """
        weight = self.gate.weight.view(2, 4, self.head_dim).sum(1)
        bias = self.gate.bias.view(2, 4).sum(1)
        logits = F.linear(x.view(len(x), self.heads, self.head_dim), weight, bias).float()
        a, b = torch.sigmoid(logits).unbind(-1)
        gate: Tensor = a * (b * self.gate_constant.float() - 1.0) + 2.0
        return gate.to(x.dtype)
