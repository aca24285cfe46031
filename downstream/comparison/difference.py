"""The difference of two scores on the same items: its interval, its p, and the smallest that would have been shown.

Leaving out a test speaker changes both scores at once, so what makes a speaker easy or hard for both of them cancels:
the variance is that of the difference, by the jackknife over clusters, with Student's t (Hansen, "Jackknife standard
errors for clustered regression", 2022). docs/comparing.md has how often it is wrong, beside McNemar's test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from downstream.statistics import NOBODY, Jackknife, SeedItems, clusters_variance, jackknives, seeds_variance

ALIKE = 1e-9  # differences below which scores are equal but for rounding
LEVEL = 0.05  # of tests, two-sided; intervals hold 95 %
POWER = 0.8


@dataclass(frozen=True, eq=False)
class HeadOfFold(SeedItems):
    """What was tested of the head of a fold and a seed."""

    fold: str


@dataclass(frozen=True)
class Difference:
    """A difference with its sampling distribution, Student's t around it.

    variance: the squared standard error; NaN where there is none, 0 where nothing differs with any speaker, which tells
    nothing of how much might. of_seeds: the part of it that is between seeds.
    """

    value: float
    variance: float
    of_seeds: float
    degrees_of_freedom: float

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.variance)

    @property
    def p(self) -> float:
        """Two-sided p of the hypothesis that there is no difference; NaN where there is no standard error."""
        from scipy.special import stdtr

        if abs(self.value) <= ALIKE and not math.isnan(self.variance):
            return 1.0
        return float(2 * stdtr(self.degrees_of_freedom, -abs(self.value) / self.error))

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the 95 % interval; NaN where there is no standard error, or where it is 0."""
        half = self._errors(self._quantile(1 - LEVEL / 2))
        return self.value - half, self.value + half

    @property
    def smallest(self) -> float:
        """The smallest true difference that such a test set shows in 80 % of cases; NaN as for the interval.

        Minimum detectable effect, two-sided at 5 %: (t(0.975) + t(0.8)) standard errors (Bloom, Evaluation Review
        19(5), 1995).
        """
        return self._errors(self._quantile(1 - LEVEL / 2) + self._quantile(POWER))

    def _errors(self, number: float) -> float:
        """Return so many standard errors; NaN of 0."""
        return number * self.error or math.nan

    def _quantile(self, probability: float) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(self.degrees_of_freedom, probability))


def difference_of(one: Sequence[HeadOfFold], other: Sequence[HeadOfFold], metric: str) -> Difference:
    """Return the difference of two scores, means over the heads of all folds and seeds that tested the same items.

    Where it is the same without each speaker, its variance is taken as if all items were independent, and to be no less
    than that of a single item.
    """
    found = between(*(jackknives(heads, [metric])[metric] for heads in (one, other)))
    if found.variance > ALIKE**2 or abs(found.value) <= ALIKE or math.isnan(found.variance):
        return found
    alone = between(*(jackknives(as_independent(heads), [metric])[metric] for heads in (one, other)))
    items = sum(len(head.items) for head in one) / len({head.seed for head in one})
    return replace(alone, variance=max(alone.variance, items**-2), degrees_of_freedom=found.degrees_of_freedom)


def between(one: Jackknife, other: Jackknife) -> Difference:
    """Return the difference of two scores from their values without each speaker.

    Seeds of both are independent draws; a score of one seed is taken to vary over seeds as the other does. Degrees of
    freedom are Satterthwaite's (Biometrics Bulletin 2(6), 1946).
    """
    value = float(one.of_seeds.mean() - other.of_seeds.mean())
    speakers, degrees = clusters_variance(one.without - other.without, one.pairs), one.degrees_of_freedom
    if not (one.is_defined and other.is_defined):
        return Difference(value, math.nan, math.nan, degrees)
    seeds, squares = 0.0, speakers**2 / degrees
    for own, its_other in ((one, other), (other, one)):
        if (number := len(own.of_seeds)) > 1:
            lent = number if len(its_other.of_seeds) == 1 else 0  # of a mean over `number` seeds to one seed
            variance = seeds_variance(own) * (1 + lent)
            seeds, squares = seeds + variance, squares + variance**2 / (number - 1)
    variance = speakers + seeds
    return Difference(value, variance, seeds, variance**2 / squares if squares else degrees)


def as_independent(heads: Sequence[HeadOfFold]) -> list[HeadOfFold]:
    """Return heads whose every item is a cluster by itself."""
    return [
        replace(head, items=replace(head.items, clusters=tuple((f"{NOBODY}{name}",) for name in head.items.ids)))
        for head in heads
    ]


def is_over_single_items(heads: Sequence[HeadOfFold]) -> bool:
    """Return True where no two items of any fold share a cluster: utterances of nobody known, or one a speaker."""
    folds = {head.fold: head.items for head in heads}
    clusters = [name for items in folds.values() for own in items.clusters for name in set(own)]
    return len(set(clusters)) == len(clusters) == sum(map(len, folds.values()))


def is_share_of_right(head: HeadOfFold, metric: str) -> bool:
    """Return True where a metric is the share of items answered rightly, as an accuracy is; it is tried out."""
    items = head.items
    if items.answers is None:
        return False
    right = np.array(items.answers, dtype=object) == np.array(items.truths, dtype=object)
    generator = np.random.default_rng(0)
    tried = [generator.random(len(items)) for _ in range(3)]
    return all(math.isclose(items.value(metric, own), float(own @ right / own.sum())) for own in tried)
