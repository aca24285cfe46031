"""Metrics of classification, all functions of a confusion matrix."""

from __future__ import annotations

import numpy as np

from downstream.tasks.evaluation import IntArray, Metric


def confusion_matrix(truth: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """Return counts (truth, predicted), (C, C)."""
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def accuracy(confusion: IntArray) -> float:
    """Return the share of utterances classified correctly; the emotion literature's "weighted accuracy"."""
    return float(np.trace(confusion) / confusion.sum())


def unweighted_accuracy(confusion: IntArray) -> float:
    """Return the mean recall over the classes that occur."""
    occurs = confusion.sum(axis=1) > 0
    return float((np.diag(confusion)[occurs] / confusion.sum(axis=1)[occurs]).mean())


def macro_f1(confusion: IntArray) -> float:
    """Return the mean F1 over the classes that occur or were predicted; F1 = 2 right / (in truth + in predictions)."""
    totals = confusion.sum(axis=1) + confusion.sum(axis=0)
    seen = totals > 0
    return float((2.0 * np.diag(confusion)[seen] / totals[seen]).mean())


METRICS = {
    "accuracy": Metric("accuracy", higher_is_better=True, of_counts=accuracy),
    "unweighted_accuracy": Metric("unweighted accuracy", higher_is_better=True, of_counts=unweighted_accuracy),
    "macro_f1": Metric("macro F1", higher_is_better=True, of_counts=macro_f1),
}
