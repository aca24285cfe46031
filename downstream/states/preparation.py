"""States of a dataset: encoded once into the store, or while heads are trained."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from downstream.data import Dataset
from downstream.recipes import CropSettings
from downstream.states.cache_plan import CachePlan
from downstream.states.sources import Computed, Cut, Means, StateSource, StoredFrames, WithWindows, cut_of_states
from upstream.base import Upstream
from upstream.encode import Item
from upstream.errors import UserError
from upstream.extract import Wanted, fill
from upstream.ranks import Ranks
from upstream.store import StateStore

logger = logging.getLogger("wavprobe")


def read_whole(dataset: Dataset, crop: CropSettings | None) -> list[int]:
    """Return the utterances whose states are read as a whole: all that some fold uses, except those cut in training.

    Of a training utterance that is longer than a window of audio, a new window is encoded each time.
    """
    window = window_of(crop)
    tested = {index for fold in dataset.split.folds for index in (*fold.dev, *fold.test)}
    tested |= {index for fold in dataset.split.folds for index in dataset.targets.further_test_utterances(fold)}
    return sorted(tested | {i for i in dataset.split.trained if window is None or dataset.items[i].seconds <= window})


def prepare(
    upstream: Upstream,
    dataset: Dataset,
    crop: CropSettings | None,
    plan: CachePlan,
    progress: bool,
    ranks: Ranks,
    beside: Sequence[Wanted] = (),
) -> tuple[StateSource, float]:
    """Fill the store as planned; return the source of the heads' states, and the seconds of audio encoded for it.

    crop: of the recipe's training; None where whole utterances are used.
    beside: what other runs will read of this upstream; it is stored in the same pass.
    """
    items = dataset.items
    window = window_of(crop)
    cut = cut_of(upstream, crop)
    computed = Computed(upstream, items, plan.reduction, cut, window)
    store = plan.open_store(upstream.name)
    if store is None:
        return computed, 0.0
    whole = read_whole(dataset, crop)
    extracted = filled(store, upstream, [items[index] for index in whole], progress, ranks, beside)
    for name in store.damaged:
        tqdm.write(f"The store's shard {name} was damaged; its states were encoded again.", file=sys.stderr)
    logger.info("store %s: %.0f s of audio encoded", store.folder, extracted)
    source: StateSource
    if plan.reduction == "frames":
        source = StoredFrames(store, items, cut)
    else:
        source = Means(pooled_of(store, dataset, whole if ranks.main else ()))  # other ranks stop here
    if window is not None and any(items[index].seconds > window for index in dataset.split.trained):
        source = WithWindows(source, computed, items, window)
    return source, extracted


def filled(
    store: StateStore,
    upstream: Upstream,
    items: Sequence[Item],
    progress: bool,
    ranks: Ranks,
    beside: Sequence[Wanted],
) -> float:
    """Fill the store, and others beside it as far as they can take states; return the seconds of audio encoded.

    Raises UserError for what is wrong with this store's states alone.
    """
    try:
        return fill(store, upstream, items, progress, ranks, beside)
    except UserError as error:
        if not beside or ranks.world > 1:
            raise
        logger.warning("%s The states of other runs are left to them.", error)
        return fill(store, upstream, items, progress, ranks)


def window_of(crop: CropSettings | None) -> float | None:
    """Return the seconds of an utterance that are encoded in training at most; None for all of it."""
    return crop.seconds if crop is not None and crop.of == "audio" else None


def cut_of(upstream: Upstream, crop: CropSettings | None) -> Cut | None:
    """Return what cuts states in training; None where they are not cut."""
    return cut_of_states(upstream, crop.seconds) if crop is not None and crop.of == "states" else None


def pooled_of(store: StateStore, dataset: Dataset, whole: Sequence[int]) -> Tensor:
    """Return per-layer means or statistics of all utterances, (L, U, D or 2 D); zeros for those not in `whole`."""
    found = store.pooled([dataset.items[index].digest for index in whole])
    if len(whole) == len(dataset.items):
        return found
    pooled = found.new_zeros(found.shape[0], len(dataset.items), found.shape[2])
    return pooled.index_copy_(1, torch.tensor(whole, dtype=torch.int64), found)
