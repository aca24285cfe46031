"""Classified utterances as tested items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from downstream.statistics import FloatArray, Items
from downstream.tasks.classification.metrics import METRICS


@dataclass(frozen=True, eq=False)
class ClassifiedItems(Items):
    """Utterances with their true and predicted classes; classes: (C,)."""

    classes: Sequence[str]

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """The cell of each utterance in the confusion matrix (truth, predicted), read row by row; (N,)."""
        assert self.answers is not None
        numbers = {name: number for number, name in enumerate(self.classes)}
        pairs = zip(self.truths, self.answers, strict=True)
        return np.array([numbers[truth] * len(numbers) + numbers[answer] for truth, answer in pairs], dtype=np.int64)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts (truth, predicted), (C, C)."""
        size = len(self.classes)
        return np.bincount(self.cells, minlength=size * size).reshape(size, size)

    def value(self, metric: str, weights: FloatArray | None = None) -> float:
        size, of_counts = len(self.classes), METRICS[metric].of_counts
        assert of_counts is not None
        return of_counts(np.bincount(self.cells, weights, size * size).reshape(size, size))
