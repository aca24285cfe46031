"""Heads on new recordings: opened with their upstream, applied, written; and exported to be shared."""

from downstream.prediction.applied import AppliedHeads
from downstream.prediction.export import export
from downstream.prediction.opening import applied_heads
from downstream.prediction.predicting import Answers, predict
from downstream.prediction.writing import place_of_answers, write_answers

__all__ = ["Answers", "AppliedHeads", "applied_heads", "export", "place_of_answers", "predict", "write_answers"]
