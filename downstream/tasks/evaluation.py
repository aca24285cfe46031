"""Evaluation of predictions: values of metrics, counts that intervals are resampled from, and files to keep."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from downstream.statistics import NO_SPEECH, NOBODY, CountedItems, Items

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


DRAWS = 2000

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
        raise NotImplementedError(f"{type(self).__name__} does not define items")

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
    """An evaluation whose metrics are functions of counts that add up over utterances.

    Its intervals come from the bootstrap over speakers, or over utterances of nobody known (`count_intervals`).
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = metrics

    @abstractmethod
    def counts(self) -> Mapping[str, IntArray]:
        """Return the counts of each speaker, all of one shape, by `Dataset.cluster`.

        An utterance without a speaker is one by itself.
        """

    @cached_property
    def by_speaker(self) -> Mapping[str, IntArray]:
        return self.counts()

    def value(self, metric: str) -> float:
        of_counts = self._metrics[metric].of_counts
        assert of_counts is not None
        return of_counts(np.sum(list(self.by_speaker.values()), axis=0))

    def items(self) -> Items:
        """Return each speaker as one item; a family whose runs are compared item by item returns utterances."""
        speakers = tuple(self.by_speaker)
        of_counts = {name: one.of_counts for name, one in self._metrics.items() if one.of_counts}
        alone = tuple((speaker,) for speaker in speakers)
        counts = np.stack(list(self.by_speaker.values()))
        return CountedItems(speakers, ("",) * len(speakers), None, alone, counts, of_counts)


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of a score; the ends are None where there is none.

    how: the method, or why there is none.
    """

    low: float | None
    high: float | None
    how: str

    @classmethod
    def over_speakers(cls, ends: tuple[float, float] | None, drawn: str = "speakers") -> Interval:
        """Return an interval by the bootstrap over speakers, or over what else is drawn (`drawn_of`), and say so."""
        if ends is None:
            return cls(None, None, f"none: too few test {drawn}")
        return cls(*ends, f"95 %, bootstrap over test {drawn}")


def drawn_of(clusters: Iterable[str]) -> str:
    """Return what the bootstrap draws, speakers or utterances of nobody known; clusters: by `Dataset.cluster`."""
    of_nobody = {cluster.startswith(NOBODY) for cluster in clusters if not cluster.startswith(NO_SPEECH)}
    if of_nobody == {True}:
        return "utterances"
    return "speakers and utterances of nobody known" if True in of_nobody else "speakers"


def summed_by_speaker(evaluations: Iterable[Mapping[str, IntArray]]) -> IntArray:
    """Return the counts of each speaker summed over evaluations, (S, …), speakers in order of first appearance."""
    merged: dict[str, IntArray] = {}
    for own in evaluations:
        for speaker, counts in own.items():
            merged[speaker] = merged.get(speaker, 0) + counts
    return np.stack(list(merged.values()))


def count_intervals(
    counts: IntArray, metrics: Mapping[str, Metric], values: Mapping[str, float], seed: int, draws: int = DRAWS
) -> dict[str, tuple[float, float] | None]:
    """Return 95 % intervals of scores that account for the sampling of test speakers.

    Utterances of one speaker are not independent, so whole speakers are drawn with replacement, among all test
    speakers of all folds (the cluster bootstrap; Davison & Hinkley 1997, section 3.8). The quantiles of the pooled
    score's deviation from its value on all speakers are added to the reported value, which may be a mean over folds.
    All metrics are computed on the same draws.

    counts: (S, …), of each speaker. values: the reported values, by metric.
    Returns (low, high) by metric, within the range of the metric; None with fewer than two speakers, and for a metric
    that is NaN for some draw.
    """
    if len(counts) < 2:
        return dict.fromkeys(values)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(draws, len(counts)))
    pooled = [counts[speakers].sum(axis=0) for speakers in drawn]
    whole = counts.sum(axis=0)
    found: dict[str, tuple[float, float] | None] = {}
    for name, value in values.items():
        of_counts = metrics[name].of_counts
        assert of_counts is not None
        spread = np.array([of_counts(one) for one in pooled]) - of_counts(whole)
        if np.isnan(spread).any():
            found[name] = None
            continue
        low, high = np.quantile(spread, [0.025, 0.975])
        found[name] = (
            max(metrics[name].lowest, value + float(low)),
            min(metrics[name].highest, value + float(high)),
        )
    return found
