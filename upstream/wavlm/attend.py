"""Attention with WavLM's position bias over the utterances of a packed batch. Here the device decides.

What is computed, of every utterance and head: softmax(q kᵀ / √head_dim + gate · bias[key - query]) v. On a CPU one
utterance after another, each in parts that stay in the cache; on a GPU the whole batch as one kernel. A bias of all
queries by all keys is never in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import product
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from upstream.wavlm.products import multiply

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

logger = logging.getLogger(__name__)

LARGEST_BLOCK = 2**20  # scores that exist at a time: 4 MB in float32; those of all of Base's heads up to 5.9 seconds
LARGEST_BLOCK_ON_GPU = 2**27  # 512 MB; where FlexAttention cannot be had, or the model learns
FEWEST_QUERIES = 128  # of a block, however long the utterance: fewer are no work for a matrix product
TILE = 128  # queries and keys that FlexAttention takes together


def attend(
    projected: Tensor, gate: Tensor, by_distance: Tensor, lengths: Sequence[int], dropout: float = 0.0
) -> Tensor:
    """What the heads gather, (N, D), before the output projection.

    projected: (N, 3, H, head_dim) queries, keys and values of N frames, utterance after utterance.
    gate: (N, H), how strongly each query heeds position.
    by_distance: (H, 2·reach + 1) bias, from a key `reach` frames after the query to one as far before it; beyond, the
        first or last holds.
    lengths: frames of each utterance.
    dropout: share of the attention weights that is set to zero.
    """
    if projected.device.type == "cuda" and not dropout and not torch.is_grad_enabled():
        flex = compiled_flex_attention(projected.device, projected.dtype, *projected.shape[2:])
        if flex is not None:
            return attend_to_all_at_once(projected, gate, by_distance, lengths, flex)
    return utterance_by_utterance(projected, gate, by_distance, lengths, dropout)


# ---------------------------------------------------------------- one utterance at a time


def utterance_by_utterance(
    projected: Tensor, gate: Tensor, by_distance: Tensor, lengths: Sequence[int], dropout: float = 0.0
) -> Tensor:
    """As `attend`, on any device, with gradients."""
    parts = zip(torch.split(projected, list(lengths)), torch.split(gate, list(lengths)), strict=True)
    return torch.cat([attend_alone(own, own_gate, by_distance, dropout) for own, own_gate in parts])


def attend_alone(projected: Tensor, gate: Tensor, by_distance: Tensor, dropout: float) -> Tensor:
    """One utterance: arguments as of `attend`, for its T frames; (T, D).

    A short one with all heads together, a long one head by head, in blocks of queries: so that no more scores exist at
    a time than stay in a processor's cache, and as one product is worth a call of its own by then.
    """
    frames, _, heads, head_dim = projected.shape
    queries, keys, values = projected.unbind(1)
    queries = (queries * head_dim**-0.5).transpose(0, 1).contiguous()
    keys, values = keys.flip(0).transpose(0, 1).contiguous(), values.flip(0).permute(1, 2, 0).contiguous()
    gate, bias = gate.T[:, :, None].contiguous(), bias_of_reversed_keys(by_distance, frames)
    largest = LARGEST_BLOCK if projected.device.type == "cpu" else LARGEST_BLOCK_ON_GPU
    if heads * frames * frames <= largest:
        scores = gated(gate, bias).baddbmm_(queries, keys.mT)
        gathered = torch.bmm(F.dropout(scores.softmax(dim=-1), dropout), values.mT)
        return gathered.transpose(0, 1).reshape(frames, heads * head_dim)
    gathered = projected.new_empty(frames, heads, head_dim)
    size = max(FEWEST_QUERIES, largest // frames)
    for head, first in product(range(heads), range(0, frames, size)):
        own = slice(first, first + size)
        scores = multiply(queries[head, own], keys[head], plus=gated(gate[head, own], bias[head, own]))
        gathered[own, head] = multiply(F.dropout(scores.softmax(dim=-1), dropout), values[head])
    return gathered.view(frames, heads * head_dim)


def gated(gate: Tensor, bias: Tensor) -> Tensor:
    """gate (…, T, 1) times bias (…, T, keys), row after row in memory.

    Left to itself PyTorch may put columns first, since both strides of overlapping windows are one; oneDNN multiplies
    such scores a thousand times slower.
    """
    if torch.is_grad_enabled():
        return (gate * bias).contiguous()
    return torch.mul(gate, bias, out=bias.new_empty(bias.shape))


def bias_of_reversed_keys(by_distance: Tensor, frames: int) -> Tensor:
    """(H, 2·reach + 1) by distance -> (H, frames, frames) [head, query, key], keys in reverse order; a view.

    The bias depends on key - query alone. With keys counted from the last, key - query is
    frames - 1 - (query + reversed key): a sum of the two indices, so overlapping windows of one short vector
    are the whole table and it needs no memory of its own.
    """
    reach = by_distance.shape[1] // 2
    if frames > reach:
        further = frames - 1 - reach
        ends = by_distance[:, :1].expand(-1, further), by_distance[:, -1:].expand(-1, further)
        return torch.cat([ends[0], by_distance, ends[1]], dim=1).unfold(1, frames, 1)
    return by_distance[:, reach - frames + 1 : reach + frames].unfold(1, frames, 1)


# ---------------------------------------------------------------- all utterances in one kernel


def attend_to_all_at_once(
    projected: Tensor, gate: Tensor, by_distance: Tensor, lengths: Sequence[int], flex: Callable[..., Tensor]
) -> Tensor:
    """All utterances as one sequence in which a frame sees those of its own utterance only; arguments as of `attend`.

    FlexAttention reads the gate and the short vector of biases where it needs them, so that scores and biases never
    leave the GPU's registers, and passes over the tiles in which no query and key are of the same utterance.
    """
    frames, _, heads, head_dim = projected.shape
    queries, keys, values = projected.permute(1, 2, 0, 3)[:, None]  # each (1, H, N, head_dim)
    reach = by_distance.shape[1] // 2  # the same for all batches of a model: it becomes a constant of the kernel

    def biased(score: Tensor, _: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + gate[query, head] * by_distance[head, (reach - (key - query)).clamp(0, 2 * reach)]

    mask = same_utterance(tuple(lengths), projected.device)
    attended = flex(queries, keys, values, score_mod=biased, block_mask=mask)
    return attended[0].transpose(0, 1).reshape(frames, heads * head_dim)


@lru_cache(maxsize=1)  # of the batch that is on its way through the layers
def same_utterance(lengths: tuple[int, ...], device: torch.device) -> BlockMask:
    """Which keys a query may see in a packed batch, with the tiles that hold any of them, found from the lengths."""
    frames = sum(lengths)
    sizes = torch.tensor(lengths)
    ends = sizes.cumsum(0)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), sizes)
    first_queries = torch.arange(0, frames, TILE)
    last_queries = (first_queries + TILE).clamp_max(frames) - 1
    first = (ends - sizes)[owner[first_queries]] // TILE
    beyond = (ends[owner[last_queries]] + TILE - 1) // TILE
    tiles = torch.arange(len(first_queries))
    indices = (first[:, None] + tiles).clamp_max(len(tiles) - 1)  # beyond the count of a row nothing is read
    owner = owner.to(device)

    def may_see(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return owner[query] == owner[key]

    from torch.nn.attention.flex_attention import BlockMask

    mask: BlockMask = BlockMask.from_kv_blocks(
        (beyond - first).to(device, torch.int32)[None, None],
        indices.to(device, torch.int32)[None, None],
        BLOCK_SIZE=TILE,
        mask_mod=may_see,
        seq_lengths=(frames, frames),
    )
    return mask


@cache
def compiled_flex_attention(
    device: torch.device, dtype: torch.dtype, heads: int, head_dim: int
) -> Callable[..., Tensor] | None:
    """FlexAttention as a kernel for this GPU and these sizes; shapes may change without another compilation.

    What PyTorch's compiler makes of it depends on versions of it, of Triton and of the driver. So it is tried on two
    short batches first. Where it fails, or gives other numbers than `attend_alone`, this returns None and says so.
    """
    from torch.nn.attention.flex_attention import flex_attention

    compiler: Callable[..., Callable[..., Tensor]] = torch.compile
    flex = compiler(flex_attention, dynamic=True)
    for lengths in ([200, 60], [40]):  # of several tiles, and of one
        try:
            difference = difference_between_ways(lengths, device, dtype, heads, head_dim, flex)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers raise anything
            logger.warning("attention goes utterance by utterance: FlexAttention cannot be compiled here (%s)", error)
            return None
        if not difference < 16 * torch.finfo(dtype).eps:  # NaN is no equality either
            logger.warning("attention goes utterance by utterance: FlexAttention is %.1e off here", difference)
            return None
    return flex


def difference_between_ways(
    lengths: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    head_dim: int,
    flex: Callable[..., Tensor],
) -> float:
    """Relative difference between a batch of noise all at once and its utterances alone."""
    generator = torch.Generator().manual_seed(0)
    projected, gate, by_distance = (
        torch.randn(*shape, generator=generator).to(device, dtype)
        for shape in ((sum(lengths), 3, heads, head_dim), (sum(lengths), heads), (heads, 301))
    )
    found = attend_to_all_at_once(projected, gate, by_distance, lengths, flex).float()
    expected = utterance_by_utterance(projected, gate, by_distance, lengths).float()
    return float((found - expected).norm() / expected.norm())
