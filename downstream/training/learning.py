"""Training of all configs of a sweep on all folds together."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from tqdm import tqdm

from downstream.data import Dataset, Fold, development_part
from downstream.recipes import Descent, Recipe, TrainingSettings
from downstream.states import Means, StateSource
from downstream.tasks import Head, Metric, Task
from downstream.training.batching import (
    Balanced,
    Batching,
    OfSimilarLength,
    Shuffled,
    SuperbBalanced,
    by_seconds,
    superb_buckets,
)
from downstream.training.fitting import fitted_heads
from downstream.training.learner import Learner
from downstream.training.loop import Fit, FoldData, Snapshots, development_score, train
from downstream.training.memory import enough_memory, smaller
from downstream.training.order import Order
from downstream.training.scoring import device_of_heads, predict
from downstream.training.separate import SeparateHeads
from downstream.training.stack import stack_size
from downstream.training.stacked import StackedHeads
from downstream.training.stacked_embeddings import StackedEmbeddings
from downstream.training.sweep import Config
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError

logger = logging.getLogger("wavprobe")


def learn(
    recipe: Recipe,
    dataset: Dataset,
    task: Task,
    source: StateSource,
    configs: Sequence[Config],
    device: torch.device,
    snapshots: Snapshots,
    show_progress: bool,
    stop_at: int | None = None,
) -> list[Fit]:
    """Train all configs on all folds together; return the fits with their development scores.

    Heads that gradient descent does not train are built, fitted in closed form, and scored on development.
    device: of heads that read frames. stop_at: the step that is the fits', wherever development is best.
    """
    used = {index for fold in dataset.split.folds for index in (*fold.train, *fold.dev)}
    with enough_memory("heads were learned", [dataset.items[index] for index in sorted(used)], smaller(recipe)):
        if recipe.learned is None:
            return score_fitted(recipe, dataset, task, source, configs, device)
        return learn_by_descent(
            recipe.learned, dataset, task, source, configs, device, snapshots, show_progress, stop_at
        )


def learn_by_descent(
    recipe: Descent,
    dataset: Dataset,
    task: Task,
    source: StateSource,
    configs: Sequence[Config],
    device: torch.device,
    snapshots: Snapshots,
    show_progress: bool,
    stop_at: int | None = None,
) -> list[Fit]:
    """Train all configs on all folds together, with a bar of progress; see `learn`."""
    settings = recipe.training
    if stop_at is not None:  # learners keep the recipe's own number of steps, which schedules of the rate go by
        settings = settings.model_copy(update={"steps": stop_at, "evaluate_every": stop_at})
    folds = [FoldData(order_of(fold, dataset, settings), development_part(fold)) for fold in dataset.split.folds]
    learners = make_learners(recipe, task, source, configs, dataset.split.folds, device)
    progress: tqdm[Any]
    described = f"learning {len(configs) * len(folds)} heads"
    with tqdm(total=settings.steps, desc=described, unit=" updates", disable=not show_progress) as progress:
        fits = train(
            learners,
            folds,
            task,
            settings,
            recipe.select,
            snapshots,
            Bar(progress, source, task.metrics[recipe.select]),
        )
    for one in fits:
        logger.info("fold %d, %s: step %d, development %.4f", one.fold, one.config, one.step, one.development)
    return fits


def score_fitted(
    recipe: Recipe,
    dataset: Dataset,
    task: Task,
    source: StateSource,
    configs: Sequence[Config],
    device: torch.device,
) -> list[Fit]:
    """Build heads and fit them in closed form; return them with their development scores."""
    where, fits = device_of_heads(source, device), []
    for number, fold in enumerate(dataset.split.folds):
        of_fold, part = task.of_fold(fold.train), development_part(fold)
        heads = [head.eval() for head in fitted_heads(of_fold, configs, fold.train, source, where)]
        for config, head, predictions in zip(
            configs, heads, predict(heads, of_fold, of_fold.predicted(part), source, where), strict=True
        ):
            one = Fit(number, config, development=development_score(of_fold, predictions, part, recipe.select))
            one.weights = {name: tensor.cpu() for name, tensor in head.state_dict().items()}
            fits.append(one)
    return fits


def score_given(
    heads: Sequence[tuple[int, Config, int, Head]],
    recipe: Recipe,
    dataset: Dataset,
    task: Task,
    source: StateSource,
    device: torch.device,
) -> list[Fit]:
    """Return heads that were learned before as fits, with their development scores here, by which nothing is chosen.

    heads: the number of the fold, the config, the step of training and the head of each.
    """
    where, fits = device_of_heads(source, device), []
    for number, config, step, head in heads:
        fold = dataset.split.folds[number]
        of_fold, part = task.of_fold(fold.train), development_part(fold)
        (predictions,) = predict([head.to(where)], of_fold, of_fold.predicted(part), source, where)
        score = development_score(of_fold, predictions, part, recipe.select)
        weights = {name: tensor.cpu() for name, tensor in head.state_dict().items()}
        fits.append(Fit(number, config, step, score, weights, head=head))
    return fits


def order_of(fold: Fold, dataset: Dataset, settings: TrainingSettings) -> Order:
    """Return the order of a fold's training utterances."""
    return Order(batching_of(fold.train, dataset, settings), settings.accumulate)


def batching_of(train: Sequence[int], dataset: Dataset, settings: TrainingSettings) -> Batching:
    """Return the recipe's division of an epoch into micro-batches.

    Raises UserError where SUPERB's buckets have no two utterances.
    """
    seconds = [dataset.items[index].seconds for index in train]
    if settings.batch_seconds is not None:
        return OfSimilarLength(by_seconds(train, seconds, settings.batch_seconds), settings.order_seed)
    if settings.batch is None:
        samples = [round(duration * SAMPLE_RATE) for duration in seconds]
        batches = superb_buckets(train, samples)
        if not batches:
            raise UserError("SUPERB's batches need two training utterances, not one; use more data, or -d asr.")
        return OfSimilarLength(batches, settings.order_seed)
    if settings.sampling == "shuffled":
        return Shuffled(train, settings.batch, settings.order_seed)
    balanced = SuperbBalanced if settings.sampling == "superb_balanced" else Balanced
    return balanced(train, dataset.targets.class_numbers(train), settings.batch, settings.order_seed)


def make_learners(
    recipe: Descent,
    task: Task,
    source: StateSource,
    configs: Sequence[Config],
    folds: Sequence[Fold],
    device: torch.device,
) -> list[Learner]:
    """Return stacks of heads on pooled states in memory where a task has such, else a module per head."""
    optimizer, training = recipe.optimizer, recipe.training
    tasks = [task.of_fold(fold.train) for fold in folds]
    collapses = is_worth_collapsing(task, training)
    if not isinstance(source, Means) or not (collapses or task.with_margin):
        where = device_of_heads(source, device)
        fitted = [fitted_heads(own, configs, folds[fold].train, source, where) for fold, own in enumerate(tasks)]
        return [
            SeparateHeads(fold, configs, own, source, optimizer, training, where, heads)
            for fold, (own, heads) in enumerate(zip(tasks, fitted, strict=True))
        ]
    size = stack_size(task, torch.get_num_threads(), len(configs) * len(folds))
    parts = [slice(first, first + size) for first in range(0, len(configs), size)]
    stacks: list[Learner] = []
    for fold, own in enumerate(tasks):
        heads = fitted_heads(own, configs, folds[fold].train, source, torch.device("cpu"))
        if own.with_margin is None:
            stacks += [
                StackedHeads(fold, configs[part], own, source.means, optimizer, training, heads[part]) for part in parts
            ]
            continue
        stacks += [
            StackedEmbeddings(fold, configs[part], heads[part], own.with_margin, source.means, optimizer, training)
            for part in parts
        ]
    return stacks


def is_worth_collapsing(task: Task, training: TrainingSettings) -> bool:
    """Return True for heads that are affine in means and have no more classes than an update has utterances."""
    update = (training.batch or 0) * training.accumulate
    return task.affine is not None and task.affine.num_classes <= update


class Read(Protocol):
    """What reads audio; audio_seconds: how much of it so far."""

    @property
    def audio_seconds(self) -> float: ...


class Bar:
    """A progress bar of updates, with the best development score.

    Where heads read frames, it also shows seconds of audio a second.
    """

    def __init__(self, bar: tqdm[Any], source: Read, metric: Metric) -> None:
        """source: of the audio. metric: of the development score."""
        self._bar, self._source, self._metric, self._began = bar, source, metric, time.perf_counter()

    def resume(self, done: int) -> None:
        """Begin at `done`, which does not count in the rate."""
        self._bar.initial = self._bar.n = self._bar.last_print_n = done
        self._bar.refresh()

    def update(self, amount: int, fits: Iterable[Fit]) -> None:
        said, metric = [], self._metric
        if self._source.audio_seconds > 0:
            said.append(f"{self._source.audio_seconds / (time.perf_counter() - self._began):.0f} audio s/s")
        best = max((fit.development for fit in fits), default=-math.inf)
        if math.isfinite(best):
            said.append(f"development {metric.title} {metric.written(metric.sign * best)}{metric.unit}")
        self._bar.set_postfix_str(", ".join(said), refresh=False)
        self._bar.update(amount)


def refuse_divergence(fits: Sequence[Fit], is_scored: bool, recipe: Recipe) -> None:
    """Raise UserError where no head is left for the primary score; is_scored: True where one is."""
    if is_scored:
        return
    if recipe.learned is None:
        raise UserError("No layer has a finite development score; check the family's metric and predictions.")
    rates = sorted({fit.config.lr for fit in fits if fit.config.lr is not None})
    own = "optimizer.lr" if recipe.finetune is None else "finetune.lr"
    key, value = ("sweep.lr", f"[{rates[0] / 10:g}]") if recipe.sweep.lr else (own, f"{rates[0] / 10:g}")
    raise UserError(
        f"Training diverged: with learning rate {' or '.join(f'{rate:g}' for rate in rates)} the loss was not finite "
        f"at any evaluation of some fold. Lower it, for example -o {key}={value}."
    )
