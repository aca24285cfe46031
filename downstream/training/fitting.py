"""What heads compute in closed form from their training utterances, in one pass for all heads of a fold."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from downstream.states import StateSource, move
from downstream.tasks import Head, Task
from downstream.training.sweep import Config

FITTED_AT_ONCE = 8  # utterances whose states are held at a time, as when heads predict


def fitted_heads(
    task: Task, configs: Sequence[Config], train: Sequence[int], source: StateSource, device: torch.device
) -> list[Head]:
    """Return the heads of a fold's configs on `device`, built and fitted in closed form."""
    heads = [task.build(config.seed, config.layer).to(device) for config in configs]
    fit(heads, task, train, source, device)
    return heads


@torch.no_grad()
def fit(heads: Sequence[Head], task: Task, train: Sequence[int], source: StateSource, device: torch.device) -> None:
    """Let a task fit the heads of one fold to its training utterances; they are read only if it does.

    Of utterances that are longer than the window that heads are trained on, the middle one is read.
    device: of the heads.
    """
    groups = torch.split(torch.tensor(train), FITTED_AT_ONCE)
    middles = [torch.full((len(group),), 0.5, dtype=torch.float64) for group in groups]
    states = (move(own, device) for own in source.batches(groups, middles))
    task.fit(heads, zip(groups, states, strict=True))
