"""What layers are compared by: a vector an utterance and layer, from the states that the store has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from upstream.base import Upstream
from upstream.encode import Item
from upstream.errors import UserError
from upstream.extract import fill, missing
from upstream.store import CODECS, StateStore, StoreKey


def store_with(upstream: Upstream, items: Sequence[Item], root: Path, progress: bool = True) -> StateStore:
    """Return a store that has states of all items: one that is there, or means, which are encoded now.

    root: folder of all states. Means come first, then statistics, whose means are the same, then frames.
    """
    keys = (StoreKey.of(upstream, "means"), StoreKey.of(upstream, "statistics"), *keys_of_frames(upstream))
    found = complete_store(upstream, keys, items, root, progress)
    if found is None:
        found = StateStore(root, keys[0], upstream.name)
        fill(found, upstream, items, progress)
    return found


def frames_with(upstream: Upstream, items: Sequence[Item], root: Path, progress: bool = True) -> StateStore:
    """Return a store of frames that has all items; raise UserError where there is none."""
    found = complete_store(upstream, keys_of_frames(upstream), items, root, progress)
    if found is None:
        raise UserError(
            f"The store has no frames of {upstream.name} for all utterances; compare means over time, or store frames "
            "first, with a run of -o store.mode=frames."
        )
    return found


def complete_store(
    upstream: Upstream, keys: Sequence[StoreKey], items: Sequence[Item], root: Path, progress: bool
) -> StateStore | None:
    """Return the first store of these keys that is there and has undamaged states of all items; None without one."""
    for key in keys:
        if (root / key.folder_name()).is_dir():
            store = StateStore(root, key, upstream.name)
            store.check([item.digest for item in items], progress)
            if not missing(store, items):
                return store
    return None


def keys_of_frames(upstream: Upstream) -> tuple[StoreKey, ...]:
    """Return the keys under which frames of an upstream may be stored, the most exact first."""
    return tuple(StoreKey.of(upstream, "frames", codec) for codec in CODECS)


def means_of(store: StateStore, items: Sequence[Item]) -> Tensor:
    """Return the mean over time of every layer of each utterance, (L, N, D)."""
    if store.key.rows is not None:
        return store.pooled([item.digest for item in items])[:, :, : store.key.dim]
    return torch.stack([store.frames(item.digest).mean(dim=1) for item in items], dim=1)


def frames_at(store: StateStore, items: Sequence[Item], moments: Tensor) -> Tensor:
    """Return the frame of every layer at one moment of each utterance, (L, N, D), from a store of frames.

    moments: (N,) from 0, the beginning of an utterance, to 1, its end. Upstreams of different strides give the frames
    of the same moment, no further apart than the longer stride; none is averaged or repeated.
    """
    found = []
    for item, moment in zip(items, moments.tolist(), strict=True):
        frames = store.frames(item.digest)
        found.append(frames[:, min(int(moment * frames.shape[1]), frames.shape[1] - 1)])
    return torch.stack(found, dim=1)
