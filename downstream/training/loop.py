"""The loop that trains all heads of a run together: updates, development scores, the best step of each."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from downstream.data import Part
from downstream.recipes import TrainingSettings
from downstream.tasks import Head, Predictions, Task
from downstream.training.learner import Learner
from downstream.training.order import Order
from downstream.training.snapshot import SnapshotClock, code_version, read_snapshot, write_snapshot
from downstream.training.sweep import Config
from upstream.errors import UserError
from upstream.out_of_memory import is_out_of_memory

logger = logging.getLogger("wavprobe")

STRETCH_SECONDS = 0.5  # between two checks of the clock and updates of the progress bar

FACTS_OF_FIT = ("step", "development", "history", "diverged", "loss")  # of a fit, as facts of a snapshot


@dataclass
class Fit:
    """One config on one fold, as trained so far.

    step: the update with the best development score; 0 before the first.
    development: that score.
    weights: the head's at that step, by the names of its state_dict.
    history: (update, mean training loss since the evaluation before, development score) at every evaluation.
    diverged: the update at which its training stopped; None where it did not diverge.
    head: one that was learned before; None for one that the task builds.
    """

    fold: int
    config: Config
    step: int = 0
    development: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[tuple[int, float, float]] = field(default_factory=list)
    diverged: int | None = None
    loss: float = 0.0  # summed since the last evaluation
    head: Head | None = None


@dataclass(frozen=True)
class FoldData:
    """Order of a fold's training utterances, and its development set; shared by its learners."""

    order: Order
    development: Part


class Progress(Protocol):
    """A progress bar."""

    def resume(self, done: int) -> object:
        """Begin at the updates that an earlier run carried out."""

    def update(self, amount: int, fits: Iterable[Fit]) -> object:
        """Add updates that were carried out, and show the best development score of the fits."""


@dataclass(frozen=True)
class Snapshots:
    """Path of a run's snapshot, and the least seconds between two.

    learned: digest of everything that the run's heads depend on; a training resumes from no other run's snapshot.
    """

    path: Path
    seconds: float = 30.0
    learned: str = ""


def train(
    learners: Sequence[Learner],
    folds: Sequence[FoldData],
    task: Task,
    settings: TrainingSettings,
    select: str,
    snapshots: Snapshots | None = None,
    progress: Progress | None = None,
    stretch: float | None = None,
) -> list[Fit]:
    """Train every config of every learner; return the fits with the weights of their best step.

    All learners advance together. A later step must be strictly better to be chosen, and the training loss before it
    finite. The training of a config that diverges stops; its best step before that counts. With `snapshots`, an
    interrupted training resumes from its last snapshot and ends in the same bits as an uninterrupted one.
    stretch: seconds between two looks at the clock, STRETCH_SECONDS by default.
    """
    training = Training(learners, folds, task, settings, select)
    if snapshots is not None:
        training.restore(snapshots)
    if progress is not None:
        progress.resume(training.step)
    clock = SnapshotClock(snapshots.seconds if snapshots else math.inf)
    with side_by_side(learners) as run:
        for end in training.stretches(stretch):
            advanced = training.advance(end, run)
            if progress is not None:
                progress.update(advanced, training.fits())
            if snapshots is not None and clock.due():
                training.save_if_possible(snapshots)
                clock.restart()
    return list(training.fits())


class Training:
    """State of a training.

    step: updates carried out.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        folds: Sequence[FoldData],
        task: Task,
        settings: TrainingSettings,
        select: str,
    ) -> None:
        """select: the metric of the development score."""
        self.step = 0
        self._can_save = True
        self._learners, self._folds, self._settings, self._select = learners, folds, settings, select
        self._tasks = [task.of_fold(fold.development.fold.train) for fold in folds]
        self._fits = [[Fit(learner.fold, config) for config in learner.configs] for learner in learners]

    def fits(self) -> Iterable[Fit]:
        return chain.from_iterable(self._fits)

    def stretches(self, seconds: float | None = None) -> Iterator[int]:
        """Yield the update to stop at next: after about so many seconds (STRETCH_SECONDS), and at every evaluation."""
        most = STRETCH_SECONDS if seconds is None else seconds
        length = 1.0
        while self.step < self._settings.steps:
            began, before = time.perf_counter(), self.step
            every = self._settings.evaluate_every
            yield min(before + int(length), (before // every + 1) * every, self._settings.steps)
            pace = (time.perf_counter() - began) / (self.step - before)
            length = max(1.0, min(2 * length, most / pace))

    def advance(self, end: int, run: Callable[..., Iterable[None]]) -> int:
        """Carry out the updates up to `end`, and the evaluation there if one is due; return their number.

        run: like `map`, over learners.
        """
        steps = range(self.step + 1, end + 1)
        updates = [[fold.order.update(step) for step in steps] for fold in self._folds]
        evaluate = end % self._settings.evaluate_every == 0 or end == self._settings.steps

        def advance_one(learner: Learner, fits: Sequence[Fit]) -> None:
            if not list(learner.survivors):
                return
            losses = learner.learn(updates[learner.fold]).tolist()
            for fit, own, diverged in zip(fits, losses, learner.survivors.diverged, strict=True):
                fit.loss = sum(own, fit.loss)  # one by one, so that stretches do not matter
                fit.diverged = diverged or None
            if evaluate:
                self._evaluate(learner, fits, end)

        for _ in run(advance_one, self._learners, self._fits):
            pass
        self.step = end
        return len(steps)

    def _evaluate(self, learner: Learner, fits: Sequence[Fit], step: int) -> None:
        part, task = self._folds[learner.fold].development, self._tasks[learner.fold]
        for index, predictions in learner.predict(torch.tensor(task.predicted(part))).items():
            fit = fits[index]
            before = fit.history[-1][0] if fit.history else 0
            loss, fit.loss = fit.loss / (step - before), 0.0
            score = development_score(task, predictions, part, self._select)
            fit.history.append((step, loss, score))
            if score > fit.development and math.isfinite(loss):
                fit.step, fit.development = step, score
                fit.weights = learner.weights(index)

    # ------------------------------------------------------------ to disk and back

    def save_if_possible(self, snapshots: Snapshots) -> None:
        """Write a snapshot; where that fails, warn once and go on: the training is worth more than its snapshot."""
        try:
            self.save(snapshots)
        except Exception as error:
            if not (isinstance(error, UserError | OSError) or is_out_of_memory(error)):
                raise
            if self._can_save:
                logger.warning("%s The training goes on, and cannot resume if it is interrupted.", error)
            self._can_save = False
        else:
            self._can_save = True

    def save(self, snapshots: Snapshots) -> None:
        tensors: dict[str, Tensor] = {}
        fits = []
        for number, (learner, index, fit) in enumerate(self._configs()):
            tensors |= {f"{number}/learner/{name}": tensor for name, tensor in learner.state(index).items()}
            tensors |= {f"{number}/best/{name}": tensor for name, tensor in fit.weights.items()}
            fits.append({name: getattr(fit, name) for name in FACTS_OF_FIT})
        write_snapshot(snapshots.path, tensors, {"step": self.step, "fits": fits, **self._identity(snapshots)})

    def restore(self, snapshots: Snapshots) -> None:
        """Resume from the last snapshot, if there is one of this training; warn where it is of another."""
        found = read_snapshot(snapshots.path)
        if found is None:
            return
        tensors, facts = found
        grouped: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, kind, part = name.split("/", 2)
            grouped.setdefault(f"{number}/{kind}", {})[part] = tensor
        identity = self._identity(snapshots)
        # A fresh optimiser has no moments yet; the snapshot has them beside what a fresh learner has.
        is_own = {key: facts.get(key) for key in identity} == identity and all(
            shapes_and_types(learner.state(index)).items()
            <= shapes_and_types(grouped.get(f"{position}/learner", {})).items()
            for position, (learner, index, _) in enumerate(self._configs())
        )
        if not is_own:
            logger.warning(
                "%s is a snapshot of other heads, or of another version of the code or of PyTorch; the training starts "
                "from the beginning",
                snapshots.path,
            )
            return
        self.step = facts["step"]
        for position, (learner, index, fit) in enumerate(self._configs()):
            learner.restore(index, grouped[f"{position}/learner"])
            own = facts["fits"][position]
            own["history"] = [tuple(evaluation) for evaluation in own["history"]]
            vars(fit).update(own, weights=grouped.get(f"{position}/best", {}))

    def _identity(self, snapshots: Snapshots) -> dict[str, Any]:
        """Return what a snapshot must agree in: the code, the run's question, and the heads on any number of cores."""
        return {"code": code_version(), "question": snapshots.learned, "learned": self._described()}

    def _configs(self) -> Iterator[tuple[Learner, int, Fit]]:
        """Yield every config with its learner, in an order that does not depend on how learners share them."""
        for learner, fits in zip(self._learners, self._fits, strict=True):
            yield from ((learner, index, fit) for index, fit in enumerate(fits))

    def _described(self) -> list[list[Any]]:
        """Return a description of the heads, in the order of `_configs`."""
        return [
            [learner.kind, fit.fold, fit.config.lr, fit.config.seed, fit.config.layer]
            for learner, _, fit in self._configs()
        ]


def shapes_and_types(state: Mapping[str, Tensor]) -> dict[str, tuple[object, ...]]:
    """Return shape and type of each tensor, by its name."""
    return {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}


def development_score(task: Task, predictions: Predictions, part: Part, select: str) -> float:
    """Return the development score of a head, the higher the better: an error rate is negative."""
    return task.metrics[select].sign * task.evaluate(predictions, part).value(select)


@contextmanager
def side_by_side(learners: Sequence[Learner]) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a `map` over learners: on one core each where all are single-threaded, else one after the other.

    PyTorch uses one thread per operation meanwhile: two stacks on a core each are faster than either on both.
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
