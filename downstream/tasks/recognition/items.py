"""Recognised utterances as tested items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from downstream.statistics import CountedItems
from downstream.tasks.evaluation import IntArray
from downstream.tasks.recognition import word_errors
from downstream.tasks.recognition.metrics import METRICS
from downstream.tasks.recognition.word_errors import ErrorCounts


def recognised_items(
    ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], clusters: Sequence[str]
) -> CountedItems:
    """Return utterances with their transcripts, hypotheses and errors."""
    errors = (counter(references, hypotheses) for counter in word_errors.COUNTERS.values())
    of_counts = {name: metric.of_counts for name, metric in METRICS.items() if metric.of_counts}
    alone = tuple((cluster,) for cluster in clusters)
    return CountedItems(tuple(ids), tuple(references), tuple(hypotheses), alone, counts_of(*errors), of_counts)


def counts_of(words: Sequence[ErrorCounts], characters: Sequence[ErrorCounts]) -> IntArray:
    """Return word errors, words, character errors and characters of each utterance, (N, 4)."""
    return np.array(
        [
            (word.errors, word.reference_length, character.errors, character.reference_length)
            for word, character in zip(words, characters, strict=True)
        ],
        dtype=np.int64,
    )
