"""States to heads: all points of a sweep on all folds, learned side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import torch
from tqdm import tqdm

from downstream.corpora.splits import Fold
from downstream.material import Material
from downstream.recipe import Recipe
from downstream.settings import TrainingSettings
from downstream.states import Means, StateSource
from downstream.sweep import Point
from downstream.tasks.base import Task
from downstream.tasks.classification import Classification
from downstream.training.batching import (
    Balanced,
    Batching,
    OfSimilarLength,
    Shuffled,
    SuperbBalanced,
    by_seconds,
    superb_buckets,
)
from downstream.training.learner import Learner
from downstream.training.loop import Attempt, FoldData, Snapshots, train
from downstream.training.order import Order
from downstream.training.separate import SeparateHeads
from downstream.training.stacked import StackedClassifiers, stack_size
from upstream.base import SAMPLE_RATE
from upstream.errors import MendableError

logger = logging.getLogger("wavprobe")


def learn(
    recipe: Recipe,
    material: Material,
    task: Task,
    source: StateSource,
    heads: Sequence[Point],
    device: torch.device,
    snapshots: Snapshots,
    show_progress: bool,
) -> list[Attempt]:
    """Learn all points on all folds side by side; device: where heads that hear frames are learned."""
    settings = recipe.training
    folds = [FoldData(order_of(fold, material, settings), torch.tensor(fold.dev)) for fold in material.split.folds]
    learners = make_learners(recipe, task, source, heads, material.split.folds, device)
    progress: tqdm[Any]
    described = f"learning {len(heads) * len(folds)} heads"
    with tqdm(total=settings.steps, desc=described, unit=" updates", disable=not show_progress) as progress:
        attempts = train(learners, folds, task, settings, snapshots, Bar(progress, source))
    for one in attempts:
        logger.info("fold %d, %s: step %d, development %.4f", one.fold, one.point, one.step, one.development)
    return attempts


def order_of(fold: Fold, material: Material, settings: TrainingSettings) -> Order:
    """The order of a fold's training utterances."""
    return Order(batching_of(fold.train, material, settings), settings.accumulate)


def batching_of(train: Sequence[int], material: Material, settings: TrainingSettings) -> Batching:
    """How the recipe cuts an epoch into micro-batches."""
    seconds = [material.items[index].seconds for index in train]
    if settings.batch_seconds is not None:
        return OfSimilarLength(by_seconds(train, seconds, settings.batch_seconds), settings.order_seed)
    if settings.batch is None:
        samples = [round(duration * SAMPLE_RATE) for duration in seconds]
        batches = superb_buckets(train, samples)
        if not batches:
            raise MendableError("One training utterance makes no batch of SUPERB's; use more of the corpus, or -d asr.")
        return OfSimilarLength(batches, settings.order_seed)
    if settings.sampling == "shuffled":
        return Shuffled(train, settings.batch, settings.order_seed)
    classes = [material.targets[index] for index in train]
    balanced = SuperbBalanced if settings.sampling == "superb_balanced" else Balanced
    return balanced(train, classes, settings.batch, settings.order_seed)


def make_learners(
    recipe: Recipe, task: Task, source: StateSource, heads: Sequence[Point], folds: Sequence[Fold], device: torch.device
) -> list[Learner]:
    """On means in memory, stacks of heads; otherwise a module a head. Stacks pay while classes are few."""
    optimizer, clip = recipe.optimizer, recipe.training.clip
    update = (recipe.training.batch or 0) * recipe.training.accumulate
    if not isinstance(task, Classification) or not isinstance(source, Means) or task.num_classes > update:
        where = torch.device("cpu") if isinstance(source, Means) else device
        tasks = [task.of_fold(fold.train) for fold in folds]
        return [SeparateHeads(fold, heads, own, source, optimizer, clip, where) for fold, own in enumerate(tasks)]
    size = stack_size(task, torch.get_num_threads(), len(heads) * len(folds))
    return [
        StackedClassifiers(fold, heads[first : first + size], task, source.means, optimizer, clip)
        for fold in range(len(folds))
        for first in range(0, len(heads), size)
    ]


class Bar:
    """A progress bar of updates; where heads hear frames, it also says of how many seconds of audio a second."""

    def __init__(self, bar: tqdm[Any], source: StateSource) -> None:
        self._bar, self._source, self._began = bar, source, time.perf_counter()

    def resume(self, done: int) -> None:
        """Begin at `done`, which says nothing about the rate of what follows."""
        self._bar.initial = self._bar.n = self._bar.last_print_n = done
        self._bar.refresh()

    def update(self, amount: int) -> None:
        if self._source.audio_seconds > 0:
            rate = self._source.audio_seconds / (time.perf_counter() - self._began)
            self._bar.set_postfix_str(f"{rate:.0f} audio s/s", refresh=False)
        self._bar.update(amount)


def refuse_divergence(attempts: Sequence[Attempt], chosen: Sequence[Attempt], recipe: Recipe) -> None:
    """Raise MendableError where the first layer, whose score is the primary one, was left without heads."""
    first = attempts[0].point.layer
    if any(one.point.layer == first for one in chosen):
        return
    rates = sorted({attempt.point.lr for attempt in attempts})
    key, value = ("sweep.lr", f"[{rates[0] / 10:g}]") if recipe.sweep.lr else ("optimizer.lr", f"{rates[0] / 10:g}")
    raise MendableError(
        f"Training diverged: with learning rate {' or '.join(f'{rate:g}' for rate in rates)} the loss was not finite "
        f"at any evaluation of some fold. Lower it, for example -o {key}={value}."
    )
