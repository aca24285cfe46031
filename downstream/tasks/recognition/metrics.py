"""Metrics of recognition: word and character error rates.

Counts are word errors, words, character errors, characters.
"""

from __future__ import annotations

import math

from downstream.tasks.evaluation import IntArray, Metric


def word_error_rate(counts: IntArray) -> float:
    return float(counts[0] / counts[1])


def character_error_rate(counts: IntArray) -> float:
    return float(counts[2] / counts[3])


METRICS = {
    "wer": Metric("WER", higher_is_better=False, of_counts=word_error_rate, highest=math.inf),
    "cer": Metric("CER", higher_is_better=False, of_counts=character_error_rate, highest=math.inf),
}
