"""What the loop asks of whatever learns heads, and the optimiser they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from downstream.settings import OptimizerSettings
from downstream.sweep import Point
from downstream.tasks.base import Predictions
from downstream.training.order import Update

# Updates skipped in a row, because the gradient's norm was not finite, after which a point counts as diverged.
# s3prl skips such updates too; one that recurs on other batches has come to stay.
SKIPPED_AT_MOST = 20


class Survivors:
    """Which of a learner's points are still learned.

    diverged: for each point the update at which it was given up, counted from one; 0 for one that was not.
    """

    def __init__(self, count: int) -> None:
        self.diverged = [0] * count
        self._skipped = [0] * count  # in a row

    def __contains__(self, index: int) -> bool:
        return self.diverged[index] == 0

    def __iter__(self) -> Iterator[int]:
        return (index for index in range(len(self.diverged)) if index in self)

    def note(self, index: int, finite: bool, step: int) -> bool:
        """Take down whether the norm of a point's gradient was finite; return whether it is to take its step."""
        if index not in self:
            return False
        self._skipped[index] = 0 if finite else self._skipped[index] + 1
        if self._skipped[index] == SKIPPED_AT_MOST:
            self.diverged[index] = step
        return finite

    def state(self, index: int) -> dict[str, Tensor]:
        return {"diverged": torch.tensor(self.diverged[index]), "skipped": torch.tensor(self._skipped[index])}

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        self.diverged[index], self._skipped[index] = int(state["diverged"]), int(state["skipped"])


class Learner(Protocol):
    """Heads that are learned side by side on the same batches of one fold; one head a point.

    No head's numbers depend on which others it is learned beside.

    single_threaded: whether it is best run on one core, beside other learners on the other cores.
    survivors: which points are still learned.
    """

    single_threaded: bool
    fold: int
    points: Sequence[Point]
    survivors: Survivors

    def learn(self, updates: Sequence[Update]) -> Tensor:
        """Carry out U updates; return the loss of each point at each, (N, U) float64."""

    def predict(self, utterances: Tensor) -> Mapping[int, Predictions]:
        """What the task's score takes, for every point that has not diverged."""

    def weights(self, index: int) -> dict[str, Tensor]:
        """A copy of the weights of one head, by the names of its state_dict."""

    def state(self, index: int) -> dict[str, Tensor]:
        """Everything it takes to go on with one head: weights, moments, generators; no copies."""

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Go on with one head from what `state` gave, if by another learner of the kind."""


def make_optimizer(
    parameters: Iterable[tuple[Tensor, float]], settings: OptimizerSettings
) -> torch.optim.Adam | torch.optim.AdamW:
    """Adam or AdamW over tensors with a learning rate each, PyTorch's default betas and epsilon."""
    kinds: dict[str, Callable[..., torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    groups: dict[float, list[Tensor]] = {}
    for parameter, lr in parameters:
        groups.setdefault(lr, []).append(parameter)
    return kinds[settings.name](
        [{"params": group, "lr": lr} for lr, group in groups.items()], weight_decay=settings.weight_decay, fused=True
    )
