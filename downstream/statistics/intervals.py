"""95 % intervals of scores: how far they would move with other test speakers of the same kind, and other seeds.

The variance comes from the jackknife over clusters, which errs on the wide side for few of them (Efron & Stein, Annals
of Statistics 9, 1981; Hansen, "Jackknife standard errors for clustered regression", 2022). The quantile is that of t,
with the effective number of clusters less one as degrees of freedom (Cameron & Miller, "A practitioner's guide to
cluster-robust inference", Journal of Human Resources 50(2), 2015). The ends are found as Wilson's are, by the variance
that the score would have there and not here (JASA 22, 1927; with clusters: Dean & Pagano, Journal of Survey Statistics
and Methodology 3, 2015): near the end of its range a score varies less, and no interval leaves the range.
docs/statistics.md has how often intervals hold what they should.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from downstream.statistics.items import NO_SPEECH, NOBODY
from downstream.statistics.jackknife import Jackknife, SeedItems, jackknives
from downstream.statistics.spread import spread_of
from upstream.text import counted

ALIKE = 1e-9  # difference, or deviation, of scores below which they are equal but for rounding


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of a score; the ends are None where there is none.

    how: what it holds and what it does not, or why there is none.
    """

    low: float | None
    high: float | None
    how: str


@dataclass(frozen=True)
class Range:
    """The least and the largest value that a metric can have; infinite where there is no such end."""

    lowest: float
    highest: float

    @property
    def variance(self) -> tuple[float, float, float]:
        """What the variance of a score is taken to be proportional to, as a + b x + c x²; at either end it is 0.

        Between two ends (x - lowest) (highest - x), as for a share; above one the distance, as for a rate; else 1.
        """
        low, high = self.lowest, self.highest
        if math.isfinite(low) and math.isfinite(high):
            return -low * high, low + high, -1.0
        if math.isfinite(low):
            return -low, 1.0, 0.0
        return (high, -1.0, 0.0) if math.isfinite(high) else (1.0, 0.0, 0.0)

    def variance_at(self, value: float) -> float:
        a, b, c = self.variance
        return a + b * value + c * value**2

    def ends(self, value: float, ratio: float) -> tuple[float, float]:
        """Return both solutions x of (value - x)² = ratio · variance(x); of a share they are Wilson's."""
        a, b, c = self.variance
        square, linear, constant = 1.0 - ratio * c, 2.0 * value + ratio * b, value**2 - ratio * a
        root = math.sqrt(max(0.0, linear**2 - 4.0 * square * constant))
        low, high = (linear - root) / (2.0 * square), (linear + root) / (2.0 * square)
        return float(max(self.lowest, min(low, value))), float(min(self.highest, max(high, value)))


def score_intervals(
    heads: Sequence[SeedItems], values: Mapping[str, float], ranges: Mapping[str, Range]
) -> dict[str, Interval]:
    """Return the interval of each score, a mean over the heads of all folds and seeds on one test part.

    values: by metric, as reported.
    """
    clusters = {cluster for head in heads for item in head.items.clusters for cluster in item}
    tested = described(clusters)
    if len(clusters) < 2:
        return dict.fromkeys(values, Interval(None, None, f"none: {tested}, and it takes two or more"))
    found: dict[str, Interval] = {}
    for metric, jackknife in jackknives(heads, values).items():
        if not jackknife.is_defined:
            found[metric] = Interval(None, None, f"none: the metric is undefined without some of {tested}")
            continue
        ends = ends_of(jackknife, values[metric], ranges[metric])
        low, high = ends or ends_without_spread(heads, jackknife, values[metric], ranges[metric])
        found[metric] = Interval(low, high, held(tested, len(jackknife.of_seeds)))
    return found


def described(clusters: Iterable[str]) -> str:
    """Return how many speakers, utterances of nobody known, and noises scores vary over."""
    kinds = Counter(
        "noise" if name.startswith(NO_SPEECH) else "utterance" if name.startswith(NOBODY) else "speaker"
        for name in clusters
    )
    ordered = (kind for kind in ("speaker", "utterance", "noise") if kinds[kind])
    return ", ".join(counted(kinds[kind], f"test {kind}") for kind in ordered)


def held(tested: str, seeds: int) -> str:
    """Return what an interval holds, and what it does not."""
    if seeds == 1:
        return f"95 %, t over {tested} (jackknife); not in it: training data, other seeds"
    return f"95 %, t over {tested}, or over {seeds} seeds where that is wider (jackknife); not in it: training data"


def ends_of(jackknife: Jackknife, value: float, possible: Range) -> tuple[float, float] | None:
    """Return both ends of an interval about a reported value; None where the score is the same without each cluster."""
    spread, scale = spread_of(jackknife), possible.variance_at(value)
    if spread.variance <= ALIKE**2 or scale <= 0.0:
        return None
    return possible.ends(value, spread.reach(0.975) ** 2 / scale)


def ends_without_spread(
    heads: Sequence[SeedItems], jackknife: Jackknife, value: float, possible: Range
) -> tuple[float, float]:
    """Return both ends where nothing varies over clusters, as where everything is right, so that no variance is known.

    They are those of as many independent items as there are recordings.
    """
    pairs = (pair for head in heads for pair in zip(head.items.ids, head.items.clusters, strict=True))
    recordings = {name for item, sides in pairs for name in (item.split(" ") if len(sides) == 2 else (item,))}
    return possible.ends(value, quantile(jackknife.degrees_of_freedom) ** 2 / len(recordings))


def quantile(degrees_of_freedom: float) -> float:
    """Return the 97.5 % quantile of t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, 0.975))
