"""Tested items of one head on one test part: the common form of what intervals, paired tests and checks work on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Beginnings of clusters of one utterance alone, as no speaker's name has: of nobody known, and of noise.
NOBODY = "\0"
NO_SPEECH = "\0\0"


def cluster_of(speaker: str, utterance: str, speech: bool = True) -> str:
    """Return what an utterance shares with others that depend on it: its speaker, else itself alone (by its id)."""
    return speaker or f"{NOBODY if speech else NO_SPEECH}{utterance}"


@dataclass(frozen=True, eq=False)
class Items(ABC):
    """Items of a test part with their truths and one head's answers.

    ids: (N,) of utterances, or "ENROLMENT TEST" of trials.
    truths: (N,) label, transcript, or target and nontarget.
    answers: (N,) in the same form; None where a head answers with a score alone.
    clusters: (N,) what each item depends on, by `cluster_of`: its one speaker, or the two of a trial, who may be one.
    """

    ids: tuple[str, ...]
    truths: tuple[str, ...]
    answers: tuple[str, ...] | None
    clusters: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def value(self, metric: str, weights: FloatArray | None = None) -> float:
        """Return a metric, to the bit the one of the record; weights: (N,) how often each item counts, once each."""


@dataclass(frozen=True, eq=False)
class CountedItems(Items):
    """Items with metrics that are functions of counts that add up over items.

    counts: (N, …) of each item. of_counts: the metrics.
    """

    counts: NDArray[np.int64]
    of_counts: Mapping[str, Callable[[Any], float]]

    def value(self, metric: str, weights: FloatArray | None = None) -> float:
        return self.of_counts[metric](self.summed if weights is None else np.tensordot(weights, self.counts, axes=1))

    @cached_property
    def summed(self) -> NDArray[np.int64]:
        """The counts of all items together."""
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total
