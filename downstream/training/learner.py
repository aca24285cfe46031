"""The contract between the training loop and learners of heads; their optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from downstream.recipes import OptimizerSettings
from downstream.tasks import Predictions
from downstream.training.order import Update
from downstream.training.sweep import Config

# Updates skipped in a row, because the gradient's norm was not finite, after which a config counts as diverged.
# s3prl skips such updates too; a norm that stays so over many batches does not recover.
SKIPPED_AT_MOST = 20


class Survivors:
    """Configs of a learner that are still trained.

    diverged: for each config the update at which training stopped, counted from one; 0 while it goes on.
    """

    def __init__(self, count: int) -> None:
        self.diverged = [0] * count
        self._skipped = [0] * count  # in a row

    def __contains__(self, index: int) -> bool:
        return self.diverged[index] == 0

    def __iter__(self) -> Iterator[int]:
        return (index for index in range(len(self.diverged)) if index in self)

    def note(self, index: int, finite: bool, step: int) -> bool:
        """Record whether the norm of a config's gradient was finite; return whether to take the step."""
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
    """Heads that are trained together on the same batches of one fold; one head per config.

    No head's numbers depend on which others it is trained with.

    kind: its name in a snapshot, from which another kind cannot resume.
    single_threaded: it runs best on one core, beside other learners on the other cores.
    survivors: configs that are still trained.
    """

    kind: str
    single_threaded: bool
    fold: int
    configs: Sequence[Config]
    survivors: Survivors

    def learn(self, updates: Sequence[Update]) -> Tensor:
        """Carry out U updates; return the loss of each config at each, (N, U) float64."""

    def predict(self, utterances: Tensor) -> Mapping[int, Predictions]:
        """Return the predictions of every config that has not diverged."""

    def weights(self, index: int) -> dict[str, Tensor]:
        """Return a copy of the weights of one head, by the names of its state_dict."""

    def state(self, index: int) -> dict[str, Tensor]:
        """Return everything that one head needs to resume: weights, moments, generators; no copies."""

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Resume one head from a `state`, also of another learner of the same kind."""


def make_optimizer(
    parameters: Iterable[tuple[Tensor, float]], settings: OptimizerSettings
) -> torch.optim.Adam | torch.optim.AdamW:
    """Return Adam or AdamW over tensors with a learning rate each, PyTorch's default betas and epsilon."""
    kinds: dict[str, Callable[..., torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    groups: dict[float, list[Tensor]] = {}
    for parameter, lr in parameters:
        groups.setdefault(lr, []).append(parameter)
    return kinds[settings.name](
        [{"params": group, "lr": lr} for lr, group in groups.items()], weight_decay=settings.weight_decay, fused=True
    )


class Schedule:
    """Learning rate schedule: the factor of the learning rates at each update.

    A function of the update's number alone, so it has no state to resume.
    """

    def __init__(self, settings: OptimizerSettings, steps: int) -> None:
        """steps: updates in all."""
        self._settings, self._steps = settings, steps

    def factor(self, step: int) -> float:
        """Return the factor of update `step`, counted from one: at most 1.

        In the warm-up step / warmup. Then, with x from 0 to 1 the share of the remaining updates that is done: 1 for
        constant, 1 - x for linear, (1 + cos(pi x)) / 2 for cosine (Loshchilov & Hutter, "SGDR", ICLR 2017, without
        restarts).
        """
        warmup = self._settings.warmup
        if step <= warmup:
            return step / warmup
        behind = (step - 1 - warmup) / max(1, self._steps - warmup)
        courses = {"constant": 1.0, "linear": 1.0 - behind, "cosine": (1.0 + math.cos(math.pi * behind)) / 2}
        return courses[self._settings.schedule]

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rates of an optimiser for an update; each group keeps its largest one as "base_lr"."""
        factor = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("base_lr", group["lr"]) * factor
