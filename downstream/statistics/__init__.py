"""What scores can be trusted for: tested items, whose weights every interval and every paired test varies."""

from downstream.statistics.intervals import Interval, Range, score_intervals
from downstream.statistics.items import NO_SPEECH, NOBODY, CountedItems, FloatArray, Items, cluster_of
from downstream.statistics.jackknife import HeadItems

__all__ = [
    "NOBODY",
    "NO_SPEECH",
    "CountedItems",
    "FloatArray",
    "HeadItems",
    "Interval",
    "Items",
    "Range",
    "cluster_of",
    "score_intervals",
]
