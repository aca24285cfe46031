"""Division of an update among processes, so that all of them together take the step that one would take alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from downstream.training import Update, derived
from upstream.ranks import Ranks


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
