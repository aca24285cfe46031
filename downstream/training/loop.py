"""The loop that learns all heads of a run side by side: updates, development scores, the best step of each."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from downstream.settings import TrainingSettings
from downstream.sweep import Point
from downstream.tasks.base import Task
from downstream.training.learner import Learner
from downstream.training.order import Order
from downstream.training.snapshot import read_snapshot, write_snapshot

logger = logging.getLogger("wavprobe")

STRETCH_SECONDS = 0.5  # how long the learners go on between two looks at the clock and the progress bar

SNAPSHOT_SHARE = 0.05  # of the time at most that goes into snapshots


@dataclass
class Attempt:
    """One point on one fold, as far as it has been learned.

    step: the update after which the development score was best; 0 before there was one.
    development: that score.
    weights: the head's at that step, by the names of its state_dict.
    history: (update, mean training loss since the evaluation before, development score) at every evaluation.
    diverged: the update at which it was given up, None for one that was not.
    """

    fold: int
    point: Point
    step: int = 0
    development: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[tuple[int, float, float]] = field(default_factory=list)
    diverged: int | None = None
    loss: float = 0.0  # summed since the last evaluation


@dataclass(frozen=True)
class FoldData:
    """What a fold's learners share: the order of its training utterances, and its development utterances (U,)."""

    order: Order
    development: Tensor


class Progress(Protocol):
    """A progress bar."""

    def resume(self, done: int) -> object:
        """So many updates were carried out by an earlier run."""

    def update(self, amount: int) -> object:
        """So many updates more were carried out."""


@dataclass(frozen=True)
class Snapshots:
    """Where a run leaves what it takes to go on, and how many seconds lie between two snapshots at least."""

    path: Path
    seconds: float = 30.0


def train(
    learners: Sequence[Learner],
    folds: Sequence[FoldData],
    task: Task,
    settings: TrainingSettings,
    snapshots: Snapshots | None = None,
    progress: Progress | None = None,
) -> list[Attempt]:
    """Learn every point of every learner; return them with the weights of their best step.

    All learners advance together. A later step must be strictly better to be preferred, and the training loss
    before it finite. A point that diverges is given up; what it reached before stands. Where `snapshots` says so,
    an interrupted training goes on from its last snapshot and ends in the same bits as one that never was.
    """
    training = Training(learners, folds, task, settings)
    if snapshots is not None:
        training.restore(snapshots.path)
    if progress is not None:
        progress.resume(training.step)
    clock = SnapshotClock(snapshots.seconds if snapshots else math.inf)
    with side_by_side(learners) as run:
        for end in training.stretches():
            advanced = training.advance(end, run)
            if progress is not None:
                progress.update(advanced)
            if snapshots is not None and clock.due():
                training.save(snapshots.path)
                clock.restart()
    return list(training.attempts())


class Training:
    """A training on its way.

    step: updates that were carried out.
    """

    def __init__(
        self, learners: Sequence[Learner], folds: Sequence[FoldData], task: Task, settings: TrainingSettings
    ) -> None:
        self.step = 0
        self._learners, self._folds, self._task, self._settings = learners, folds, task, settings
        self._attempts = [[Attempt(learner.fold, point) for point in learner.points] for learner in learners]

    def attempts(self) -> Iterable[Attempt]:
        return chain.from_iterable(self._attempts)

    def stretches(self) -> Iterator[int]:
        """Where to stop next: after about STRETCH_SECONDS, and at every evaluation."""
        length = 1.0
        while self.step < self._settings.steps:
            began, before = time.perf_counter(), self.step
            every = self._settings.evaluate_every
            yield min(before + int(length), (before // every + 1) * every, self._settings.steps)
            pace = (time.perf_counter() - began) / (self.step - before)
            length = max(1.0, min(2 * length, STRETCH_SECONDS / pace))

    def advance(self, end: int, run: Callable[..., Iterable[None]]) -> int:
        """Carry out the updates up to `end`, and the evaluation there if one is due; return how many they were.

        run: like `map`, over learners.
        """
        steps = range(self.step + 1, end + 1)
        updates = [[fold.order.update(step) for step in steps] for fold in self._folds]
        evaluate = end % self._settings.evaluate_every == 0 or end == self._settings.steps

        def advance_one(learner: Learner, attempts: Sequence[Attempt]) -> None:
            if not list(learner.survivors):
                return
            losses = learner.learn(updates[learner.fold]).tolist()
            for attempt, own, diverged in zip(attempts, losses, learner.survivors.diverged, strict=True):
                attempt.loss = sum(own, attempt.loss)  # one by one, whatever the stretch
                attempt.diverged = diverged or None
            if evaluate:
                self._evaluate(learner, attempts, end)

        for _ in run(advance_one, self._learners, self._attempts):
            pass
        self.step = end
        return len(steps)

    def _evaluate(self, learner: Learner, attempts: Sequence[Attempt], step: int) -> None:
        development = self._folds[learner.fold].development
        for index, predictions in learner.predict(development).items():
            attempt = attempts[index]
            before = attempt.history[-1][0] if attempt.history else 0
            loss, attempt.loss = attempt.loss / (step - before), 0.0
            score = self._task.score(predictions, development)
            attempt.history.append((step, loss, score))
            if score > attempt.development and math.isfinite(loss):
                attempt.step, attempt.development = step, score
                attempt.weights = learner.weights(index)

    # ------------------------------------------------------------ to disk and back

    def save(self, path: Path) -> None:
        tensors: dict[str, Tensor] = {}
        facts = []
        for number, (learner, index, attempt) in enumerate(self._points()):
            tensors |= {f"{number}/learner/{name}": tensor for name, tensor in learner.state(index).items()}
            tensors |= {f"{number}/best/{name}": tensor for name, tensor in attempt.weights.items()}
            kept = ("step", "development", "history", "diverged", "loss")
            facts.append({name: getattr(attempt, name) for name in kept})
        write_snapshot(path, tensors, {"step": self.step, "learned": self._described(), "attempts": facts})

    def restore(self, path: Path) -> None:
        """Go on from the snapshot at `path`, if there is one."""
        found = read_snapshot(path)
        if found is None:
            return
        tensors, facts = found
        if facts["learned"] != self._described():
            logger.warning("%s is of heads that are learned in another way; the training begins again", path)
            return
        self.step = facts["step"]
        grouped: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, kind, part = name.split("/", 2)
            grouped.setdefault(f"{number}/{kind}", {})[part] = tensor
        for position, (learner, index, attempt) in enumerate(self._points()):
            learner.restore(index, grouped[f"{position}/learner"])
            own = facts["attempts"][position]
            own["history"] = [tuple(evaluation) for evaluation in own["history"]]
            vars(attempt).update(own, weights=grouped.get(f"{position}/best", {}))

    def _points(self) -> Iterator[tuple[Learner, int, Attempt]]:
        """Every point with the learner that has it, in an order that does not depend on how learners share them."""
        for learner, attempts in zip(self._learners, self._attempts, strict=True):
            yield from ((learner, index, attempt) for index, attempt in enumerate(attempts))

    def _described(self) -> list[list[Any]]:
        """What is learned and how: a snapshot is of use to the same heads only, on however many cores."""
        return [
            [type(learner).__name__, attempt.fold, attempt.point.lr, attempt.point.seed, attempt.point.layer]
            for learner, _, attempt in self._points()
        ]


class SnapshotClock:
    """Says when the next snapshot is due: rarely enough that writing them costs little of the time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.perf_counter() + seconds
        self._asked = 0.0

    def due(self) -> bool:
        self._asked = time.perf_counter()
        return self._asked >= self._next

    def restart(self) -> None:
        """To be called when the snapshot that was due is written."""
        now = time.perf_counter()
        self._next = now + max(self._seconds, (now - self._asked) / SNAPSHOT_SHARE)


@contextmanager
def side_by_side(learners: Sequence[Learner]) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` over learners: on one core each where they are made for that, one after the other otherwise.

    PyTorch uses one thread an operation meanwhile: two stacks on a core each are faster than either on both.
    """
    if not all(learner.single_threaded for learner in learners):
        yield map
        return
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(cores)
