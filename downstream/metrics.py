"""The metrics that define the benchmark, and their intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def confusion_matrix(truth: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """Counts (truth, predicted), (C, C)."""
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def accuracy(confusion: IntArray) -> float:
    """Share of utterances that were right; the emotion literature's "weighted accuracy"."""
    return float(np.trace(confusion) / confusion.sum())


def unweighted_accuracy(confusion: IntArray) -> float:
    """Mean over the classes that occur of the share of each that was right (mean recall)."""
    occurs = confusion.sum(axis=1) > 0
    return float((np.diag(confusion)[occurs] / confusion.sum(axis=1)[occurs]).mean())


def macro_f1(confusion: IntArray) -> float:
    """Mean F1 over the classes that occur or were predicted; F1 = 2 right / (in truth + in predictions)."""
    totals = confusion.sum(axis=1) + confusion.sum(axis=0)
    seen = totals > 0
    return float((2.0 * np.diag(confusion)[seen] / totals[seen]).mean())


METRICS: dict[str, Callable[[IntArray], float]] = {
    "accuracy": accuracy,
    "unweighted_accuracy": unweighted_accuracy,
    "macro_f1": macro_f1,
}


def speaker_bootstrap(
    confusions: IntArray, metric: Callable[[IntArray], float], value: float, seed: int, draws: int = 2000
) -> tuple[float, float] | None:
    """95 % interval of a score that allows for the choice of test speakers.

    Utterances of one speaker are not independent, so whole speakers are drawn with replacement, among all
    test speakers of all folds (the cluster bootstrap; Davison & Hinkley 1997, section 3.8). The quantiles of
    the pooled score about its own value are laid about `value`, which may be a mean over folds.

    confusions: (S, C, C), the confusion matrix of each speaker. Returns (low, high), within [0, 1], or None
    where there is one speaker, who says nothing about how speakers differ.
    """
    if len(confusions) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(confusions), size=(draws, len(confusions)))
    pooled = np.array([metric(confusions[speakers].sum(axis=0)) for speakers in drawn])
    low, high = np.quantile(pooled - metric(confusions.sum(axis=0)), [0.025, 0.975])
    return max(0.0, value + float(low)), min(1.0, value + float(high))
