"""The metrics that define the benchmark: what they are called, and those of classification with their interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """How a metric is written, and which way is better.

    percent: whether it is a share, written in percent.
    """

    title: str
    higher_is_better: bool
    percent: bool = True

    def written(self, value: float) -> str:
        """The value as tables have it, without a unit."""
        return f"{100 * value:.2f}" if self.percent else f"{value:.4f}"

    @property
    def unit(self) -> str:
        return " %" if self.percent else ""

    @property
    def sign(self) -> int:
        """What makes a value the better the higher."""
        return 1 if self.higher_is_better else -1


METRICS = {
    "accuracy": Metric("accuracy", higher_is_better=True),
    "unweighted_accuracy": Metric("unweighted accuracy", higher_is_better=True),
    "macro_f1": Metric("macro F1", higher_is_better=True),
    "wer": Metric("WER", higher_is_better=False),
    "cer": Metric("CER", higher_is_better=False),
    "eer": Metric("EER", higher_is_better=False),
    "min_dcf_0.01": Metric("minDCF 0.01", higher_is_better=False, percent=False),
    "min_dcf_0.05": Metric("minDCF 0.05", higher_is_better=False, percent=False),
}


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


OF_CONFUSIONS: dict[str, Callable[[IntArray], float]] = {
    "accuracy": accuracy,
    "unweighted_accuracy": unweighted_accuracy,
    "macro_f1": macro_f1,
}


def speaker_bootstrap(
    pieces: IntArray,
    metric: Callable[[IntArray], float],
    value: float,
    seed: int,
    draws: int = 2000,
    highest: float = 1.0,
) -> tuple[float, float] | None:
    """95 % interval of a score that allows for the choice of test speakers.

    Utterances of one speaker are not independent, so whole speakers are drawn with replacement, among all
    test speakers of all folds (the cluster bootstrap; Davison & Hinkley 1997, section 3.8). The quantiles of
    the pooled score about its own value are laid about `value`, which may be a mean over folds.

    pieces: (S, …), counts of each speaker that add up (a confusion matrix, errors and words), of whose sum `metric`
        is a function. highest: value that the metric can have.

    Returns (low, high), or None where there is one speaker, who says nothing about how speakers differ.
    """
    if len(pieces) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(pieces), size=(draws, len(pieces)))
    pooled = np.array([metric(pieces[speakers].sum(axis=0)) for speakers in drawn])
    low, high = np.quantile(pooled - metric(pieces.sum(axis=0)), [0.025, 0.975])
    return max(0.0, value + float(low)), min(highest, value + float(high))
