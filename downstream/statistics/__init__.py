"""What scores can be trusted for: tested items, whose weights every interval and every paired test varies."""

from downstream.statistics.intervals import (
    ALIKE,
    Interval,
    Range,
    described,
    score_intervals,
)
from downstream.statistics.items import NO_SPEECH, NOBODY, CountedItems, FloatArray, Items, cluster_of
from downstream.statistics.jackknife import Jackknife, SeedItems, clusters_variance, jackknives
from downstream.statistics.spread import OfSeeds, Spread, seeds_variance, spread_of

__all__ = [
    "ALIKE",
    "NOBODY",
    "NO_SPEECH",
    "CountedItems",
    "FloatArray",
    "SeedItems",
    "Interval",
    "Items",
    "Jackknife",
    "OfSeeds",
    "Range",
    "Spread",
    "cluster_of",
    "clusters_variance",
    "described",
    "jackknives",
    "score_intervals",
    "seeds_variance",
    "spread_of",
]
