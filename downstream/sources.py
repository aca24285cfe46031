"""Corpus to states: what the upstream hears once and for all, and what it hears while heads are learned."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from downstream.allowance import StatesPlan
from downstream.material import Material
from downstream.settings import CropSettings, TrainingSettings
from downstream.states import Computed, Means, StateSource, StoredFrames, WithWindows, cut_of_states
from upstream.base import Upstream
from upstream.extract import fill
from upstream.ranks import Ranks
from upstream.store import StateStore

logger = logging.getLogger("wavprobe")


def read_whole(material: Material, training: TrainingSettings) -> list[int]:
    """The utterances whose states are read as a whole: all that some fold uses, but for those cut while they train.

    Of an utterance that is longer than a window of audio, the upstream hears another window each time.
    """
    window = window_of(training.crop)
    tested = {index for fold in material.split.folds for index in (*fold.dev, *fold.test)}
    tested |= {index for cohort in material.cohorts.values() for index in cohort}
    return sorted(tested | {i for i in material.split.trained if window is None or material.items[i].seconds <= window})


def prepare(
    upstream: Upstream,
    material: Material,
    training: TrainingSettings,
    plan: StatesPlan,
    progress: bool,
    ranks: Ranks,
) -> tuple[StateSource, float]:
    """Where the heads will have their states from, and the seconds of audio that had to be extracted for it."""
    crop, items = training.crop, material.items
    window = window_of(crop)
    cut = cut_of_states(upstream, crop.seconds) if crop is not None and crop.of == "states" else None
    computed = Computed(upstream, items, plan.reduction, cut, window)
    store = plan.open_store(upstream.name)
    if store is None:
        return computed, 0.0
    whole = read_whole(material, training)
    extracted = fill(store, upstream, [items[index] for index in whole], progress, ranks)
    for name in store.damaged:
        tqdm.write(f"The store's shard {name} was damaged; what it held was made again.", file=sys.stderr)
    logger.info("store %s was given %.0f s of audio", store.folder, extracted)
    source: StateSource
    if plan.reduction == "frames":
        source = StoredFrames(store, items, cut)
    else:
        source = Means(means_of(store, material, whole if ranks.main else ()))  # the others go no further
    if window is not None and any(items[index].seconds > window for index in material.split.trained):
        source = WithWindows(source, computed, items, window)
    return source, extracted


def window_of(crop: CropSettings | None) -> float | None:
    """Seconds of audio that the upstream hears of a long utterance while heads are learned; None for all of it."""
    return crop.seconds if crop is not None and crop.of == "audio" else None


def means_of(store: StateStore, material: Material, whole: Sequence[int]) -> Tensor:
    """Per-layer means of all utterances, (L, U, D); zeros for those that are not in the store."""
    found = store.means([material.items[index].digest for index in whole])
    if len(whole) == len(material.items):
        return found
    means = found.new_zeros(found.shape[0], len(material.items), found.shape[2])
    return means.index_copy_(1, torch.tensor(whole, dtype=torch.int64), found)
