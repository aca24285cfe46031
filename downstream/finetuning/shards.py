"""Division of an update among processes, so that all of them together take the step that one would take alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from downstream.training import Update, derived
from upstream.ranks import Ranks

KEPT = "The last snapshot of the training is kept; run the same command again."

Told = TypeVar("Told")


@dataclass(frozen=True)
class Shard:
    """One process's utterances of a micro-batch.

    utterances: (B,) indices. places: (B,) of windows. seeds: of what is random for each in the encoder; they depend on
    its place in the update alone. weights: (B,) in the loss; those of all processes sum to the micro-batch's.
    """

    utterances: Tensor
    places: Tensor
    seeds: list[int]
    weights: Tensor


def shards_of(update: Update, seed: int, ranks: Ranks) -> Iterator[Shard]:
    """Yield this process's part of every micro-batch of an update; seed: of the config.

    Every process has something to compute, since all of them wait for each other's gradients: where a micro-batch has
    fewer utterances than there are processes, some compute its first one again, with weight zero.
    """
    before = 0
    for part, places in zip(update.parts, update.places, strict=True):
        seeds = [derived(seed, f"utterance {before + index} of update {update.step}") for index in range(len(part))]
        weights = update.weights_of(part)
        own = slice(ranks.rank, None, ranks.world)
        if ranks.rank >= len(part):
            own, weights = slice(0, 1), torch.zeros_like(weights)
        yield Shard(part[own], places[own], seeds[own], weights[own])
        before += len(part)


def synchronised(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Return a model whose gradients are the mean over all processes; of one process alone, the model itself.

    Gradients are shared after every micro-batch: which parameters have one may differ between micro-batches (a mask
    that none draws, a dropped block), and those of the last one alone would not all be shared.
    """
    if ranks.world == 1:
        return model
    with ranks.none_lost(KEPT):
        return DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)


def summed(number: float, device: torch.device, ranks: Ranks) -> float:
    """Return the sum of a number over all processes, in float64."""
    if ranks.world == 1:
        return number
    total = torch.tensor(number, dtype=torch.float64, device=device)
    with ranks.none_lost(KEPT):
        torch.distributed.all_reduce(total)
    return float(total)


def told(value: Told, ranks: Ranks) -> Told:
    """Return the first process's value, in every process."""
    if ranks.world == 1:
        return value
    values = [value]
    with ranks.none_lost(KEPT):
        torch.distributed.broadcast_object_list(values, src=0)
    return values[0]
