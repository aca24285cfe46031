"""What a family of tasks says of its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from downstream.corpora.splits import Fold
from downstream.tasks.base import Predictions


@dataclass(frozen=True)
class Evaluation:
    """What the test says of a head.

    metrics: by the names of the recipe; those of further test parts have the part's name behind, wer_test-other.
    details: what the record keeps beside them, fields of `HeadRecord`.
    pieces: what the interval is made from, in the family's own form.
    rows: one a test utterance, for predictions.jsonl.
    files: further files beside the record, by the ending of their names.
    """

    metrics: Mapping[str, float]
    details: Mapping[str, Any]
    pieces: Any
    rows: Sequence[Mapping[str, object]] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of a score; the ends are None where there is none to be had."""

    low: float | None
    high: float | None
    how: str


class Scorer(Protocol):
    """How the heads of one family are tested on one corpus."""

    @property
    def chance_means(self) -> str:
        """How the score of knowing nothing comes about, in words."""

    def outputs(self, fold: Fold) -> Sequence[str]:
        """What each output of a fold's heads stands for: classes, characters, training speakers."""

    def tested(self, fold: Fold) -> Sequence[int]:
        """The utterances that are heard for the test of a fold."""

    def evaluate(self, predictions: Predictions, fold: Fold) -> Evaluation:
        """What the test says of predictions for `tested(fold)`."""

    def interval(self, evaluations: Sequence[Evaluation], metric: str, value: float, seed: int) -> Interval:
        """The 95 % interval of a mean over evaluations of heads of all folds; seed: of the bootstrap."""

    def chance(self, fold: Fold) -> float:
        """The primary score of knowing nothing on the fold's test set."""
