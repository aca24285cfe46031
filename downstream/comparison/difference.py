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

from downstream.statistics import (
    ALIKE,
    NOBODY,
    Jackknife,
    OfSeeds,
    SeedItems,
    Spread,
    clusters_variance,
    jackknives,
    seeds_variance,
)

LEVEL = 0.05  # of tests, two-sided; intervals hold 95 %
POWER = 0.8


@dataclass(frozen=True, eq=False)
class HeadOfFold(SeedItems):
    """What was tested of the head of a fold and a seed."""

    fold: str


@dataclass(frozen=True)
class Difference:
    """A difference with its sampling distribution around it.

    spread: NaN where there is none, 0 where nothing differs with any speaker, which tells nothing of how much might.
    """

    value: float
    spread: Spread

    @property
    def p(self) -> float:
        """Two-sided p of the hypothesis that there is no difference; NaN where there is no standard error."""
        if abs(self.value) <= ALIKE and not math.isnan(self.spread.variance):
            return 1.0
        return self.spread.p(self.value)

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the 95 % interval; NaN where there is no standard error, or where it is 0."""
        half = self.spread.reach(1 - LEVEL / 2) or math.nan
        return self.value - half, self.value + half

    @property
    def smallest(self) -> float:
        """The smallest true difference that such a test set shows in 80 % of cases; NaN as for the interval.

        Minimum detectable effect, two-sided at 5 %: without seeds (t(0.975) + t(0.8)) standard errors (Bloom,
        Evaluation Review 19(5), 1995).
        """
        return self.spread.reach(1 - LEVEL / 2) + self.spread.reach(POWER) or math.nan


def difference_of(one: Sequence[HeadOfFold], other: Sequence[HeadOfFold], metric: str) -> Difference:
    """Return the difference of two scores, means over the heads of all folds and seeds that tested the same items.

    Where it is the same without each speaker, its variance is taken as if all items were independent, and to be no less
    than that of a single item.
    """
    found = between(*(jackknives(heads, [metric])[metric] for heads in (one, other)))
    if not found.spread.variance <= ALIKE**2 or abs(found.value) <= ALIKE:
        return found
    alone = between(*(jackknives(as_independent(heads), [metric])[metric] for heads in (one, other))).spread
    items = sum(len(head.items) for head in one) / len({head.seed for head in one})
    variance = max(alone.variance, items**-2)
    return Difference(found.value, Spread(variance, found.spread.degrees_of_freedom))


def between(one: Jackknife, other: Jackknife) -> Difference:
    """Return the difference of two scores from their values without each speaker.

    Seeds of both are independent draws; a score of one seed is taken to vary over seeds as the other does. What seeds
    alone say is not lessened by what speakers explain of it, as it is for a score: in a difference, from which cancels
    what both find hard, that is too large a part to be known.
    """
    value = float(one.of_seeds.mean() - other.of_seeds.mean())
    if not (one.is_defined and other.is_defined):
        return Difference(value, Spread(math.nan, one.degrees_of_freedom))
    seeds, shared = [], 0.0
    for own, its_other in ((one, other), (other, one)):
        if (number := len(own.of_seeds)) > 1:
            # With the share of a single seed of the other side, from a mean over `number` seeds.
            times = 1 + number if len(its_other.of_seeds) == 1 else 1
            variance, explained = (times * part for part in seeds_variance(own))
            seeds.append(OfSeeds(variance, number - 1))
            shared += explained
    speakers = clusters_variance(one.without - other.without, one.pairs)
    alone = max(0.0, sum(part.variance for part in seeds) - shared)
    return Difference(value, Spread(speakers + alone, one.degrees_of_freedom, tuple(seeds)))


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
