"""How far a score moves with other test speakers and other seeds, as far as a few of both can tell.

Few seeds know their own spread badly: two of them are often alike by chance, and a single quantile for the sum of both
variances (Satterthwaite's) would then be that of the speakers, with nothing left for what seeds do. So there are two
intervals, and the wider one counts: that of everything, with the quantile of so many speakers, and that of what seeds
add, with the quantile of so few seeds. The first is right where seeds add little, the second where they add most.
docs/statistics.md has how often they hold what they should, there and in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from downstream.statistics.jackknife import Jackknife, clusters_variance

LEAST_TAIL = 1e-15  # p is no smaller than twice this where it is found by search
# Part of what speakers explain that is taken off what seeds add: all of it would too often leave nothing where two
# seeds differ much (92 % held), none of it makes intervals too wide where they do not (98 %).
SUBTRACTED = 0.5


@dataclass(frozen=True)
class OfSeeds:
    """The variance of a mean over seeds that comes from these, with its degrees of freedom."""

    variance: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class Spread:
    """The variance of a score, or of a difference of two.

    variance: over test speakers, and seeds where there are several; NaN where it is not known.
    degrees_of_freedom: of the speakers.
    seeds: what comes from seeds alone, one for each score that has several.
    """

    variance: float
    degrees_of_freedom: float
    seeds: tuple[OfSeeds, ...] = ()

    def reach(self, probability: float) -> float:
        """Return the deviation that is not exceeded with a probability of more than a half; NaN where not known.

        Of two scores with seeds the squares of both distances are added (Graybill & Wang, "Confidence intervals on
        nonnegative linear combinations of variances", JASA 75, 1980).
        """
        whole = distance(self.variance, self.degrees_of_freedom, probability)
        of_seeds = [distance(one.variance, one.degrees_of_freedom, probability) for one in self.seeds]
        return max(whole, math.hypot(*of_seeds))

    def p(self, deviation: float) -> float:
        """Return how often a deviation is as large, up or down; NaN where the spread is not known."""
        from scipy.optimize import brentq
        from scipy.special import stdtr

        size = abs(deviation)
        if not self.seeds or math.isnan(self.variance):
            return float(2 * stdtr(self.degrees_of_freedom, -size / math.sqrt(self.variance)))
        if self.reach(1 - LEAST_TAIL) <= size:
            return 2 * LEAST_TAIL
        found = brentq(lambda tail: self.reach(1 - math.exp(tail)) - size, math.log(LEAST_TAIL), math.log(0.5))
        return float(2 * math.exp(found))


def distance(variance: float, degrees_of_freedom: float, probability: float) -> float:
    """Return the deviation that is not exceeded with a probability, by Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, probability)) * math.sqrt(variance)


def spread_of(jackknife: Jackknife) -> Spread:
    """Return the spread of a score, a mean over folds and seeds."""
    speakers = clusters_variance(jackknife.without, jackknife.pairs)
    number = len(jackknife.of_seeds)
    if number < 2:
        return Spread(speakers, jackknife.degrees_of_freedom)
    variance, shared = seeds_variance(jackknife)
    of_seeds = OfSeeds(max(0.0, variance - SUBTRACTED * shared), number - 1)
    return Spread(speakers + max(0.0, variance - shared), jackknife.degrees_of_freedom, (of_seeds,))


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
