"""What scores can be trusted for: tested items, whose weights every interval and every paired test varies."""

from downstream.statistics.items import NO_SPEECH, NOBODY, CountedItems, FloatArray, Items, cluster_of

__all__ = ["NOBODY", "NO_SPEECH", "CountedItems", "FloatArray", "Items", "cluster_of"]
