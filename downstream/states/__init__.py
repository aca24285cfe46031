"""Hidden states of a dataset: cached means, cached frames, or computed on the fly."""

from downstream.states.cache_plan import CachePlan, plan_cache
from downstream.states.extracted import Contents, Extracted, extract, extract_named
from downstream.states.preparation import prepare, read_whole
from downstream.states.sources import Computed, Cut, Means, StateSource, cut_all, cut_of_states, move, windowed

__all__ = [
    "CachePlan",
    "Computed",
    "Cut",
    "Contents",
    "Means",
    "StateSource",
    "Extracted",
    "cut_all",
    "cut_of_states",
    "extract",
    "move",
    "plan_cache",
    "prepare",
    "read_whole",
    "extract_named",
    "windowed",
]
