"""Self-attention with WavLM's gated relative position bias."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.wavlm.config import WavLMConfig

# Attention over T frames needs a bias of H · T · T numbers. Queries are taken in blocks so that no more than
# this many exist at a time (128 MiB in float32); a 15-second utterance of Base is one block.
LARGEST_BIAS = 2**25


@lru_cache(maxsize=8)
def buckets(frames: int, num_buckets: int, max_distance: int) -> Tensor:
    """Bucket of every distance r = key - query between `frames` frames, from the largest r down: (2·frames - 1,).

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

    return torch.tensor([bucket(r) for r in range(frames - 1, -frames, -1)])


class RelativePositions(nn.Module):
    """The position bias before its gate, shared by all layers: a table of buckets by heads."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.num_buckets, self.max_distance = config.num_buckets, config.max_bucket_distance
        self.weight = nn.Parameter(torch.empty(config.num_buckets, config.num_attention_heads))

    def forward(self, frames: int) -> Tensor:
        """Bias of every distance, from key far after the query to far before it: (H, 2·frames - 1)."""
        index = buckets(frames, self.num_buckets, self.max_distance).to(self.weight.device)
        return self.weight[index].T.contiguous()


def bias_of_reversed_keys(by_distance: Tensor, frames: int) -> Tensor:
    """(H, 2·longest - 1) by distance -> (H, frames, frames) [head, query, key], keys in reverse order; a view.

    The bias depends on key - query alone. With keys counted from the last, key - query is
    frames - 1 - (query + reversed key): a sum of the two indices, so overlapping windows of one short vector
    are the whole table and it needs no memory of its own.
    """
    longest = (by_distance.shape[1] + 1) // 2
    return by_distance[:, longest - frames : longest + frames - 1].unfold(1, frames, 1)


class Attention(nn.Module):
    """Multi-head attention over each utterance of a packed batch."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_dim = config.hidden_size // self.heads
        self.dropout = config.attention_dropout
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)
        self.gate = nn.Linear(self.head_dim, 8)
        self.gate_constant = nn.Parameter(torch.empty(self.heads))

    def forward(self, x: Tensor, lengths: list[int], by_distance: Tensor) -> Tensor:
        """x: (N, D), the utterances one after another; lengths: frames of each, N in all.

        by_distance: (H, 2·longest - 1) ungated position bias of `RelativePositions`.
        """
        gate = self._gate(x)
        heads = self.qkv(x).view(len(x), 3, self.heads, self.head_dim).permute(1, 2, 0, 3)  # (3, H, N, head_dim)
        utterances = [
            self._attend(own, own_gate, bias_of_reversed_keys(by_distance, frames))
            for own, own_gate, frames in zip(
                torch.split(heads, lengths, dim=2), torch.split(gate, lengths, dim=1), lengths, strict=True
            )
        ]
        result: Tensor = self.out(torch.cat(utterances))
        return result

    def _attend(self, heads: Tensor, gate: Tensor, bias: Tensor) -> Tensor:
        """One utterance: heads (3, H, T, head_dim), gate (H, T), bias (H, T, T) -> (T, D)."""
        queries, keys, values = heads[0], heads[1].flip(1), heads[2].flip(1)
        frames = queries.shape[1]
        block = max(1, LARGEST_BIAS // (self.heads * frames))
        blocks = [
            F.scaled_dot_product_attention(
                queries[None, :, i : i + block],
                keys[None],
                values[None],
                attn_mask=(gate[:, i : i + block, None] * bias[:, i : i + block])[None].to(queries.dtype),
                dropout_p=self.dropout if self.training else 0.0,
            )[0]
            for i in range(0, frames, block)
        ]
        return torch.cat(blocks, dim=1).transpose(0, 1).reshape(frames, -1)

    def _gate(self, x: Tensor) -> Tensor:
        """How strongly each query of each head heeds position: (N, D) -> (H, N) float32.

        The gate reads the attention's input, cut into heads but not projected. Of its eight outputs only two
        sums of four are used, so the sums are taken of the weights: (8, head_dim) -> (2, head_dim).
        gate = a · (b · constant - 1) + 2, with a and b the two sigmoids (Chi et al. 2022, XLM-E, section 3.2).
        """
        weight = self.gate.weight.view(2, 4, self.head_dim).sum(1)
        bias = self.gate.bias.view(2, 4).sum(1)
        logits = F.linear(x.view(len(x), self.heads, self.head_dim), weight, bias).float()
        a, b = torch.sigmoid(logits).permute(2, 1, 0)
        gate: Tensor = a * (b * self.gate_constant.float()[:, None] - 1.0) + 2.0
        return gate
