"""Heads on new recordings: opened with their upstream, applied, written; and exported to be shared."""

from downstream.prediction.export import export
from downstream.prediction.predicting import Answers, predict
from downstream.prediction.writing import place_of_answers, write_answers

__all__ = ["Answers", "export", "place_of_answers", "predict", "write_answers"]
