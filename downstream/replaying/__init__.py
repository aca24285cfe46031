"""A result computed again from its record, and compared with it: data, weights, code, predictions, scores."""

from downstream.replaying.comparison import Comparison, Line, compared
from downstream.replaying.replay import Replay, replay
from downstream.replaying.showing import show

__all__ = ["Comparison", "Line", "Replay", "compared", "replay", "show"]
