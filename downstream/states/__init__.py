"""Hidden states of a dataset: cached means, cached frames, or computed on the fly."""

from downstream.states.cache_plan import CachePlan, plan_cache
from downstream.states.extracted import Contents, Extracted, extract, extract_named
from downstream.states.preparation import cut_of, prepare, read_whole, window_of
from downstream.states.sources import Computed, Cut, Means, StateSource, cut_all, move, windowed_all

__all__ = [
    "CachePlan",
    "Computed",
    "Cut",
    "Contents",
    "Means",
    "StateSource",
    "Extracted",
    "cut_all",
    "cut_of",
    "extract",
    "move",
    "plan_cache",
    "prepare",
    "read_whole",
    "extract_named",
    "window_of",
    "windowed_all",
]
