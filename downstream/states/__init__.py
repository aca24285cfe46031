"""Hidden states of a dataset: cached means, cached frames, or computed on the fly."""

from downstream.states.cache_plan import CachePlan, plan_cache
from downstream.states.preparation import prepare, read_whole
from downstream.states.sources import Means, StateSource, move
from downstream.states.taken import Taken, extract, take_named

__all__ = [
    "CachePlan",
    "Means",
    "StateSource",
    "Taken",
    "extract",
    "move",
    "plan_cache",
    "prepare",
    "read_whole",
    "take_named",
]
