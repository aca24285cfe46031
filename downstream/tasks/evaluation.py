"""Evaluation of predictions: values of metrics, what intervals are computed from, and files to keep."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from downstream.data import Dataset
from downstream.statistics import CountedItems, Items, Range

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """A metric of a family.

    title: heading in tables.
    of_counts: the value from counts that add up over utterances (confusions, errors and words); None for a metric
        that is not a function of such counts (an equal error rate).
    percent: a share, written in percent.
    lowest, highest: least and largest value that it can have; an interval ends there.
    """

    title: str
    higher_is_better: bool
    of_counts: Callable[[IntArray], float] | None = None
    percent: bool = True
    lowest: float = 0.0
    highest: float = 1.0

    @property
    def range(self) -> Range:
        """The values that it can have."""
        return Range(self.lowest, self.highest)

    def written(self, value: float) -> str:
        """Return the value as tables show it, without a unit."""
        return f"{100 * value:.2f}" if self.percent else f"{value:.4f}"

    @property
    def unit(self) -> str:
        return " %" if self.percent else ""

    @property
    def heading(self) -> str:
        """Title and unit, as tables and axes have them."""
        return f"{self.title}, %" if self.percent else self.title

    @property
    def scale(self) -> float:
        """Factor from a value to the number that is written and drawn."""
        return 100.0 if self.percent else 1.0

    @property
    def sign(self) -> int:
        """Factor that makes a higher value a better one."""
        return 1 if self.higher_is_better else -1


# White space, and a percent sign that could be taken for a quoted character.
SEPARATING = re.compile(r"\s|%(?=[0-9A-Fa-f]{2})")


def one_field(name: str) -> str:
    """Return an utterance's id for a file whose fields are separated by blanks: a blank in it is %20, as in URLs.

    Different ids stay different, and `urllib.parse.unquote` restores them.
    """
    return SEPARATING.sub(lambda found: quote(found[0]), name)


class Evaluation(ABC):
    """Predictions of one head for one part of a dataset, compared with the truth.

    Training needs one value on the development set at every evaluation, a test part needs everything; so anything
    slow is computed on demand.
    """

    @abstractmethod
    def value(self, metric: str) -> float:
        """Return the value of one of the family's metrics."""

    def items(self) -> Items:
        """Return what was tested, item by item, with what each depends on."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define items, which intervals are computed from; see "
            "docs/adding_a_family.md"
        )

    def details(self) -> Mapping[str, Any]:
        """Return the family's fields of the record beside the metrics, as JSON values."""
        return {}

    def rows(self) -> Sequence[Mapping[str, object]]:
        """Return a row for each utterance of the part, in order, for predictions.jsonl; none where `files` has more."""
        return ()

    def files(self) -> Mapping[str, bytes]:
        """Return further files beside the record, by the suffix of their names."""
        return {}


class CountedEvaluation(Evaluation):
    """An evaluation whose metrics are functions of counts that add up over utterances."""

    def __init__(self, metrics: Mapping[str, Metric], dataset: Dataset, utterances: Sequence[int]) -> None:
        """utterances: of the part, by index."""
        self._metrics, self._dataset, self._utterances = metrics, dataset, utterances

    @abstractmethod
    def counts(self) -> IntArray:
        """Return the counts of every utterance, (N, …), in order."""

    @cached_property
    def _counted(self) -> IntArray:
        return self.counts()

    def value(self, metric: str) -> float:
        of_counts = self._metrics[metric].of_counts
        assert of_counts is not None
        return of_counts(self._counted.sum(axis=0))

    def items(self) -> CountedItems:
        """Return the utterances with their counts; a family whose runs are compared item by item fills in the rest."""
        return CountedItems(
            ids=tuple(self._dataset.utterances[index].id for index in self._utterances),
            truths=("",) * len(self._utterances),
            answers=None,
            clusters=tuple((self._dataset.cluster(index),) for index in self._utterances),
            counts=self._counted,
            of_counts={name: metric.of_counts for name, metric in self._metrics.items() if metric.of_counts},
        )
