"""What several processes share while they learn together."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from upstream.ranks import Ranks

KEPT = "The last snapshot of the training is kept; run the same command again."

Told = TypeVar("Told")


def synchronised(model: nn.Module, ranks: Ranks, all_used: bool = False) -> nn.Module:
    """Return a model whose gradients are the mean over all processes; of one process alone, the model itself.

    all_used: every parameter has a gradient in every micro-batch. Otherwise (a mask that none draws, a dropped block)
    gradients are shared after every micro-batch: which parameters have one may differ between micro-batches, and those
    of the last one alone would not all be shared.
    """
    if ranks.world == 1:
        return model
    with ranks.none_lost(KEPT):
        return DistributedDataParallel(model, find_unused_parameters=not all_used, broadcast_buffers=False)


def summed(number: float, device: torch.device, ranks: Ranks) -> float:
    """Return the sum of a number over all processes, in float64."""
    return float(summed_all(torch.tensor([number], dtype=torch.float64, device=device), ranks)[0])


def summed_all(numbers: Tensor, ranks: Ranks) -> Tensor:
    """Return the sums of numbers over all processes; `numbers` is overwritten."""
    if ranks.world > 1:
        with ranks.none_lost(KEPT):
            torch.distributed.all_reduce(numbers)
    return numbers


def told(value: Told, ranks: Ranks) -> Told:
    """Return the first process's value, in every process."""
    if ranks.world == 1:
        return value
    values = [value]
    with ranks.none_lost(KEPT):
        torch.distributed.broadcast_object_list(values, src=0)
    return values[0]
