"""How far a score moves with other test speakers and other seeds, as far as a few of both can tell.

Both variances have their own degrees of freedom, and each goes with its own quantile of t: the squares of both
distances are added (Graybill & Wang, "Confidence intervals on nonnegative linear combinations of variances", JASA 75,
1980; Zou & Donner, Statistics in Medicine 27, 2008). With few seeds, their variance comes out near 0 by chance: a
single quantile of the sum would then be that of the speakers, and nothing would be left for what seeds do.
docs/statistics.md has how often intervals hold what they should.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from downstream.statistics.jackknife import Jackknife, clusters_variance

LEAST_TAIL = 1e-15  # p is no smaller than twice this where it is found by search


@dataclass(frozen=True)
class Spread:
    """The variance of a score, or of a difference of two, over test speakers, and over seeds where there are several.

    speakers: with `degrees_of_freedom`; NaN where it is not known. seeds: that of a mean over the seeds, with
    `degrees_of_freedom_of_seeds`. shared: the part of both that is one and the same, what each seed makes of each
    speaker: it is left to the seeds' variance, whose quantile is the larger one.
    """

    speakers: float
    degrees_of_freedom: float
    seeds: float = 0.0
    degrees_of_freedom_of_seeds: float = math.inf
    shared: float = 0.0

    @property
    def of_speakers_alone(self) -> float:
        """The variance over speakers without what is in the seeds' as well."""
        return max(0.0, self.speakers - self.shared)

    @property
    def variance(self) -> float:
        """The variance over both; never less than that over speakers."""
        return max(self.speakers, self.of_speakers_alone + self.seeds)

    def reach(self, probability: float) -> float:
        """Return the deviation that is not exceeded with a probability of more than a half; NaN where not known."""
        from scipy.special import stdtrit

        by_speakers = float(stdtrit(self.degrees_of_freedom, probability))
        alone = by_speakers * math.sqrt(self.speakers)
        if not self.seeds:
            return alone
        by_seeds = float(stdtrit(self.degrees_of_freedom_of_seeds, probability))
        both = math.hypot(by_speakers * math.sqrt(self.of_speakers_alone), by_seeds * math.sqrt(self.seeds))
        return max(alone, both)

    def p(self, deviation: float) -> float:
        """Return how often a deviation is as large, up or down; NaN where the spread is not known."""
        from scipy.optimize import brentq
        from scipy.special import stdtr

        size = abs(deviation)
        if not self.seeds:
            return float(2 * stdtr(self.degrees_of_freedom, -size / math.sqrt(self.speakers)))
        if math.isnan(self.speakers):
            return math.nan
        if self.reach(1 - LEAST_TAIL) <= size:
            return 2 * LEAST_TAIL
        found = brentq(lambda tail: self.reach(1 - math.exp(tail)) - size, math.log(LEAST_TAIL), math.log(0.5))
        return float(2 * math.exp(found))


def spread_of(jackknife: Jackknife) -> Spread:
    """Return the spread of a score, a mean over folds and seeds."""
    speakers = clusters_variance(jackknife.without, jackknife.pairs)
    seeds, shared = seeds_variance(jackknife)
    return Spread(speakers, jackknife.degrees_of_freedom, seeds, len(jackknife.of_seeds) - 1 or math.inf, shared)


def seeds_variance(jackknife: Jackknife) -> tuple[float, float]:
    """Return the variance of a mean over seeds by how these differ, and the part of it that speakers explain; 0 of one.

    Seeds differ also because each meets the test speakers differently, which the variance over speakers holds as well:
    the interaction of two crossed factors (Cameron, Gelbach & Miller, Journal of Business & Economic Statistics 29(2),
    2011).
    """
    scores, number = jackknife.of_seeds, len(jackknife.of_seeds)
    if number < 2:
        return 0.0, 0.0
    interaction = clusters_variance(jackknife.of_seeds_without - jackknife.without, jackknife.pairs)
    return float(scores.var(ddof=1)) / number, interaction / (number * (number - 1))
