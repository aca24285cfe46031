"""Attention with WavLM's position bias over the utterances of a packed batch, in the way that suits the device.

For every utterance and head: softmax(q kᵀ / √head_dim + gate · bias[key - query]) v. On a CPU, utterances are computed
one after another in blocks that stay in the cache; on a GPU, the whole batch is one kernel. The bias of all queries by
all keys is never in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from upstream.wavlm.fastest import MARGIN, TOLERANCE, TURNS, Way, take_turns
from upstream.wavlm.products import multiply

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

logger = logging.getLogger(__name__)

LARGEST_BLOCK = 2**20  # scores in memory at a time: 4 MB in float32; all heads of Base for up to 5.9 seconds
LARGEST_BLOCK_ON_GPU = 2**27  # 512 MB; for training, or without FlexAttention
FEWEST_QUERIES = 128  # of a block, for any length of utterance: matrix products with fewer rows are inefficient
TILE = 128  # queries and keys of a tile of FlexAttention


def attend(projected: Tensor, gate: Tensor, by_distance: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the concatenated output of the heads, (N, D), before the output projection; without gradients.

    projected: (N, 3, H, head_dim) queries, keys and values of N frames, the utterances concatenated.
    gate: (N, H), factor of the position bias for each query.
    by_distance: (H, 2·reach + 1) bias, from a key `reach` frames after the query to one `reach` frames before it. At
        larger distances the first or last value holds.
    lengths: frames of each utterance.
    """
    if projected.device.type == "cuda":
        flex = compiled_flex_attention(projected.device, projected.dtype, *projected.shape[2:])
        if flex is not None:
            return attend_packed(projected, gate, by_distance, lengths, flex)
    return attend_one_by_one(projected, gate, by_distance, lengths)


# ---------------------------------------------------------------- one utterance at a time


def attend_one_by_one(projected: Tensor, gate: Tensor, by_distance: Tensor, lengths: Sequence[int]) -> Tensor:
    """Compute `attend` utterance by utterance, on any device."""
    parts = zip(torch.split(projected, list(lengths)), torch.split(gate, list(lengths)), strict=True)
    return torch.cat([attend_one(frames, frame_gates, by_distance) for frames, frame_gates in parts])


def attend_one(projected: Tensor, gate: Tensor, by_distance: Tensor) -> Tensor:
    """Compute `attend` for one utterance of T frames, (T, D).

    Short utterances are computed with all heads together; long ones head by head in blocks of queries, so that the
    scores stay in the cache. Their products are large enough for separate calls.
    """
    frames, _, heads, head_dim = projected.shape
    queries, keys, values = projected.unbind(1)
    queries = (queries * head_dim**-0.5).transpose(0, 1).contiguous()
    keys, values = keys.flip(0).transpose(0, 1).contiguous(), values.flip(0).permute(1, 2, 0).contiguous()
    gate, bias = gate.T[:, :, None].contiguous(), bias_of_reversed_keys(by_distance, frames)
    largest = LARGEST_BLOCK if projected.device.type == "cpu" else LARGEST_BLOCK_ON_GPU
    if heads * frames * frames <= largest:
        scores = gated(gate, bias).baddbmm_(queries, keys.mT)
        attended = torch.bmm(scores.softmax(dim=-1), values.mT)
        return attended.transpose(0, 1).reshape(frames, heads * head_dim)
    attended = projected.new_empty(frames, heads, head_dim)
    size = max(FEWEST_QUERIES, largest // frames)
    for head, first in product(range(heads), range(0, frames, size)):
        block = slice(first, first + size)
        scores = multiply(queries[head, block], keys[head], plus=gated(gate[head, block], bias[head, block]))
        attended[block, head] = multiply(scores.softmax(dim=-1), values[head])
    return attended.view(frames, heads * head_dim)


def gated(gate: Tensor, bias: Tensor) -> Tensor:
    """Return gate (…, T, 1) times bias (…, T, keys), in row-major order; without gradients.

    PyTorch itself may choose column-major order, because both strides of overlapping windows are one; oneDNN
    multiplies such scores a thousand times slower.
    """
    return torch.mul(gate, bias, out=bias.new_empty(bias.shape))


def bias_of_reversed_keys(by_distance: Tensor, frames: int) -> Tensor:
    """Return the bias as a view (H, frames, frames) [head, query, key], keys in reverse order, which needs no memory.

    by_distance: (H, 2·reach + 1).
    """
    return bias_of_sums(by_distance, frames).unfold(1, frames, 1)


def bias_of_sums(by_distance: Tensor, frames: int) -> Tensor:
    """Return the bias of each sum of the numbers of a query and a key, (H, 2·frames - 1), keys counted from the last.

    by_distance: (H, 2·reach + 1). The bias depends only on key - query. With keys counted from the last, key - query
    is frames - 1 - (query + reversed key), a sum of the two numbers, so the table of all queries and keys consists of
    overlapping windows of this vector.
    """
    reach = by_distance.shape[1] // 2
    if frames > reach:
        further = frames - 1 - reach
        ends = by_distance[:, :1].expand(-1, further), by_distance[:, -1:].expand(-1, further)
        return torch.cat([ends[0], by_distance, ends[1]], dim=1)
    return by_distance[:, reach - frames + 1 : reach + frames]


# ---------------------------------------------------------------- all utterances in one kernel


def attend_packed(
    projected: Tensor, gate: Tensor, by_distance: Tensor, lengths: Sequence[int], flex: Callable[..., Tensor]
) -> Tensor:
    """Compute `attend` for all utterances as one sequence, masked so that a frame attends to its utterance only.

    FlexAttention reads the gate and the short vector of biases where it needs them, so scores and biases stay in the
    GPU's registers. It skips tiles in which no query and key are of the same utterance.

    flex: compiled FlexAttention; the other arguments are those of `attend`.
    """
    frames, _, heads, head_dim = projected.shape
    queries, keys, values = projected.permute(1, 2, 0, 3)[:, None]  # each (1, H, N, head_dim)
    reach = by_distance.shape[1] // 2  # the same for all batches of a model, so a constant of the kernel

    def biased(score: Tensor, _: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + gate[query, head] * by_distance[head, (reach - (key - query)).clamp(0, 2 * reach)]

    mask = same_utterance(tuple(lengths), projected.device)
    attended = flex(queries, keys, values, score_mod=biased, block_mask=mask)
    return attended[0].transpose(0, 1).reshape(frames, heads * head_dim)


@lru_cache(maxsize=1)  # all layers of a batch share it
def same_utterance(lengths: tuple[int, ...], device: torch.device) -> BlockMask:
    """Return the mask of a packed batch, in which a query attends to keys of its utterance, with its non-empty tiles.

    The tiles are found from the lengths alone.
    """
    frames = sum(lengths)
    sizes = torch.tensor(lengths)
    ends = sizes.cumsum(0)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), sizes)
    first_queries = torch.arange(0, frames, TILE)
    last_queries = (first_queries + TILE).clamp_max(frames) - 1
    first = (ends - sizes)[owner[first_queries]] // TILE
    beyond = (ends[owner[last_queries]] + TILE - 1) // TILE
    tiles = torch.arange(len(first_queries))
    indices = (first[:, None] + tiles).clamp_max(len(tiles) - 1)  # entries beyond the count of a row are not read
    owner = owner.to(device)

    def is_visible(_: Tensor, __: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return owner[query] == owner[key]

    from torch.nn.attention.flex_attention import BlockMask

    mask: BlockMask = BlockMask.from_kv_blocks(
        (beyond - first).to(device, torch.int32)[None, None],
        indices.to(device, torch.int32)[None, None],
        BLOCK_SIZE=TILE,
        mask_mod=is_visible,
        seq_lengths=(frames, frames),
    )
    return mask


@cache
def compiled_flex_attention(
    device: torch.device, dtype: torch.dtype, heads: int, head_dim: int
) -> Callable[..., Tensor] | None:
    """Return FlexAttention compiled for this GPU and these sizes; other lengths need no new compilation.

    The compiled kernel depends on the versions of PyTorch, Triton and the driver, so it is tried first. Where it fails,
    differs from `attend_one_by_one` or is slower, this says so in the log and returns None.
    """
    from torch.nn.attention.flex_attention import flex_attention

    compiler: Callable[..., Callable[..., Tensor]] = torch.compile
    flex = compiler(flex_attention, dynamic=True)
    for lengths in ([200, 60], [40], [249] * 8):  # several tiles, one, and a batch of five seconds, which is timed
        packed, plain = both_ways(lengths, device, dtype, heads, head_dim, flex)
        try:
            difference = float((packed().float() - plain().float()).norm() / plain().float().norm())
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers raise anything
            logger.warning("attention runs utterance by utterance: FlexAttention cannot be compiled here (%s)", error)
            return None
        if not difference < TOLERANCE * torch.finfo(dtype).eps:  # NaN fails this test too
            logger.warning("attention runs utterance by utterance: FlexAttention is %.1e off here", difference)
            return None
    seconds = take_turns({"FlexAttention": packed, "utterance by utterance": plain}, TURNS, device)
    logger.info("attention in %s: %s", dtype, ", ".join(f"{way} {1000 * own:.3g} ms" for way, own in seconds.items()))
    return None if seconds["utterance by utterance"] * MARGIN < seconds["FlexAttention"] else flex


def both_ways(
    lengths: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    heads: int,
    head_dim: int,
    flex: Callable[..., Tensor],
) -> tuple[Way, Way]:
    """Return `attend_packed` and `attend_one_by_one` of the same batch of noise."""
    generator = torch.Generator().manual_seed(0)
    projected, gate, by_distance = (
        torch.randn(*shape, generator=generator).to(device, dtype)
        for shape in ((sum(lengths), 3, heads, head_dim), (sum(lengths), heads), (heads, 301))
    )
    return (
        lambda: attend_packed(projected, gate, by_distance, lengths, flex),
        lambda: attend_one_by_one(projected, gate, by_distance, lengths),
    )
