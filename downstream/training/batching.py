"""Division of an epoch into micro-batches: shuffled, balanced over classes, or by length.

Every epoch has its own generator, seeded by the order's seed and the epoch's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from downstream.data import class_weights, draw_balanced
from downstream.training.seeds import derived

# s3prl's ASR recipe: batches of 32 utterances; one with an utterance of more than 2,000 "frames" is halved. The
# lengths it compares are samples, so that every full batch is (preprocess/generate_len_for_bucket.py, downstream/asr).
SUPERB_BUCKET = 32
SUPERB_HALVED_ABOVE = 2000  # samples


class Batching(Protocol):
    """Epochs of equally many micro-batches.

    per_epoch: micro-batches of an epoch. largest: utterances of the largest one. seed: of all draws.
    """

    per_epoch: int
    largest: int
    seed: int

    def epoch(self, number: int) -> tuple[Tensor, ...]:
        """Return the micro-batches of an epoch, (B_i,) utterance indices each."""


class Shuffled:
    """A fresh permutation every epoch, in batches of equal size; the last one may be smaller."""

    def __init__(self, utterances: Sequence[int], batch: int, seed: int) -> None:
        self._utterances = torch.tensor(utterances)
        self.per_epoch = -(-len(utterances) // batch)
        self.largest, self.seed = batch, seed

    def epoch(self, number: int) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self._utterances), generator=generator_of(self.seed, number))
        return torch.split(self._utterances[order], self.largest)


class Balanced:
    """Every class equally often: each cycles through its utterances, reshuffled for every round.

    An epoch has as many utterances as the list, rounded down to full batches.
    """

    def __init__(self, utterances: Sequence[int], classes: Sequence[int], batch: int, seed: int) -> None:
        """classes: of each of `utterances`."""
        members: dict[int, list[int]] = {}
        for utterance, own in zip(utterances, classes, strict=True):
            members.setdefault(own, []).append(utterance)
        self._members = [torch.tensor(members[own]) for own in sorted(members)]
        self.largest, self.seed = min(batch, len(utterances)), seed
        self.per_epoch = len(utterances) // self.largest

    def epoch(self, number: int) -> tuple[Tensor, ...]:
        size = self.per_epoch * self.largest
        first = number * size
        # Position p of the whole stream belongs to class p mod C, of which it is the (p div C)-th utterance.
        count = len(self._members)
        drawn = torch.empty(size, dtype=torch.int64)
        for own, members in enumerate(self._members):
            offset = (own - first) % count
            turns = torch.arange(first + offset, max(first + offset, first + size), count) // count
            drawn[offset::count] = self._in_turn(own, members, turns)
        shuffled = drawn[torch.randperm(size, generator=generator_of(self.seed, number))]
        return torch.split(shuffled, self.largest)

    def _in_turn(self, own: int, members: Tensor, turns: Tensor) -> Tensor:
        """Return the utterances of one class at some turns of its rounds."""
        rounds, positions = turns // len(members), turns % len(members)
        drawn = torch.empty_like(turns)
        for number in sorted(set(rounds.tolist())):
            seed = derived(self.seed, f"round {number} of class {own}")
            order = torch.randperm(len(members), generator=torch.Generator().manual_seed(seed))
            here = rounds == number
            drawn[here] = members[order[positions[here]]]
        return drawn


class SuperbBalanced:
    """SUPERB's keyword spotting: drawn with replacement, every class equally likely, the last partial batch dropped.

    s3prl, downstream/speech_commands: a WeightedRandomSampler over the list with weights N / count(class).
    """

    def __init__(self, utterances: Sequence[int], classes: Sequence[int], batch: int, seed: int) -> None:
        self._utterances, self._weights = torch.tensor(utterances), class_weights(classes)
        self.largest, self.seed = min(batch, len(utterances)), seed
        self.per_epoch = len(utterances) // self.largest

    def epoch(self, number: int) -> tuple[Tensor, ...]:
        drawn = draw_balanced(self._weights, generator_of(self.seed, number))[: self.per_epoch * self.largest]
        return torch.split(self._utterances[drawn], self.largest)


class OfSimilarLength:
    """Fixed batches of utterances of similar length, in a fresh order every epoch."""

    def __init__(self, batches: Sequence[Sequence[int]], seed: int) -> None:
        self._batches = [torch.tensor(batch) for batch in batches]
        self.per_epoch, self.seed = len(batches), seed
        self.largest = max(map(len, batches))

    def epoch(self, number: int) -> tuple[Tensor, ...]:
        order = torch.randperm(self.per_epoch, generator=generator_of(self.seed, number))
        return tuple(self._batches[position] for position in order.tolist())


def superb_buckets(utterances: Sequence[int], samples: Sequence[int]) -> list[list[int]]:
    """Return SUPERB's speech recognition batches: sorted, longest first, in groups of 32, halved where they are long.

    samples: length of each of `utterances`. A group of one utterance is dropped, as s3prl drops it.
    """
    ordered = sorted(zip(samples, utterances, strict=True), key=lambda pair: -pair[0])
    groups = [ordered[first : first + SUPERB_BUCKET] for first in range(0, len(ordered), SUPERB_BUCKET)]
    batches: list[list[int]] = []
    for group in groups:
        own = [utterance for _, utterance in group]
        half = SUPERB_BUCKET // 2
        is_halved = len(own) == SUPERB_BUCKET and group[0][0] > SUPERB_HALVED_ABOVE
        batches += [own[:half], own[half:]] if is_halved else [own]
    return [batch for batch in batches if len(batch) > 1]


def by_seconds(utterances: Sequence[int], seconds: Sequence[float], most: float) -> list[list[int]]:
    """Return batches of similar length, at most `most` seconds each with padding; a longer utterance is a batch alone.

    seconds: duration of each of `utterances`.
    """
    batches: list[list[int]] = []
    longest = 0.0
    for duration, utterance in sorted(zip(seconds, utterances, strict=True), key=lambda pair: -pair[0]):
        if not batches or (len(batches[-1]) + 1) * longest > most:
            batches.append([])
            longest = duration
        batches[-1].append(utterance)
    return batches


def generator_of(seed: int, epoch: int) -> torch.Generator:
    """Return the generator of one epoch."""
    return torch.Generator().manual_seed(derived(seed, f"order of epoch {epoch}"))
