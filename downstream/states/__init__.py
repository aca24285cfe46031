"""Hidden states of a dataset: cached means, cached frames, or computed on the fly."""

from downstream.states.cache_plan import CachePlan, plan_cache
from downstream.states.preparation import prepare, read_whole
from downstream.states.sources import Means, StateSource, move
from downstream.states.taken import FORMATS, NUMBERS, Contents, Taken, layers_of, take_states

__all__ = [
    "FORMATS",
    "NUMBERS",
    "CachePlan",
    "Contents",
    "Means",
    "StateSource",
    "Taken",
    "layers_of",
    "move",
    "plan_cache",
    "prepare",
    "read_whole",
    "take_states",
]
