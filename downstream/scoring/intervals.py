"""What the intervals of all families share: speakers are the witnesses, and their counts add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from downstream.material import Material
from downstream.metrics import IntArray
from downstream.scoring.base import Interval


def cluster(material: Material, index: int) -> str:
    """What an utterance shares with others that are no independent witnesses: its speaker, else nothing."""
    utterance = material.utterances[index]
    return utterance.speaker or utterance.id


def over_speakers(interval: tuple[float, float] | None) -> Interval:
    """An interval by the bootstrap over speakers, in words."""
    if interval is None:
        return Interval(None, None, "none: too few test speakers")
    return Interval(*interval, "95 %, bootstrap over test speakers")


def by_speaker(pieces: Iterable[Mapping[str, IntArray]]) -> IntArray:
    """The counts of each speaker, (…), summed over evaluations, one speaker after the other, (S, …)."""
    merged: dict[str, IntArray] = {}
    for own in pieces:
        for speaker, counts in own.items():
            merged[speaker] = merged.get(speaker, 0) + counts
    return np.stack(list(merged.values()))
