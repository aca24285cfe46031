"""Classification of new recordings."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from downstream.tasks.classification.heads import UtteranceClassifier, classifier
from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.tasks.head import Head, Predictions, as_rows
from downstream.tasks.predictor import HeadContext, Predictor
from upstream.base import States

DIGITS = 6  # of a posterior


class ClassPredictor(Predictor):
    """The class of a recording, with the posteriors of all classes."""

    averages = True

    def __init__(self, context: HeadContext, head: ClassifierSettings) -> None:
        self._context, self._head = context, head

    def build(self, layer: int | None) -> UtteranceClassifier:
        context = self._context
        return classifier(self._head, context.num_layers, context.dim, len(context.outputs), 0, layer)

    def predict(self, head: Head, states: States) -> Tensor:
        """Return posteriors, (B, C)."""
        return posteriors(head, states)

    def answers(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return the most probable class, its posterior, and those of all classes."""
        rows = as_rows(predictions)
        best = rows.argmax(dim=1).tolist()
        return [
            {
                "class": self._context.outputs[answer],
                "posterior": round(own[answer], DIGITS),
                "posteriors": {
                    name: round(value, DIGITS) for name, value in zip(self._context.outputs, own, strict=True)
                },
            }
            for answer, own in zip(best, rows.tolist(), strict=True)
        ]


def posteriors(head: Head, states: States) -> Tensor:
    """Return the posterior of each class for each utterance of a batch, (B, C)."""
    found: Tensor = head(states).softmax(dim=1)
    return found
