"""Comparison of new recordings: how similar are their speakers?"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from downstream.tasks.head import Head, Predictions, as_rows
from downstream.tasks.predictor import HeadContext, Predictor
from downstream.tasks.verification.comparison import comparison_of
from downstream.tasks.verification.heads import Verifier, verifier
from downstream.tasks.verification.recipe import VerifierSettings
from downstream.tasks.verification.trial_scores import pair_scores
from upstream.base import States


class SpeakerPredictor(Predictor):
    """The embedding of a recording, and the score of two; scores are not normalised, which needs the cohort."""

    compares = True

    def __init__(self, context: HeadContext, head: VerifierSettings) -> None:
        self._context, self._head = context, head

    def build(self, layer: int | None) -> Verifier:
        context = self._context
        return verifier(self._head, context.num_layers, context.dim, len(context.outputs), 0, layer)

    def predict(self, head: Head, states: States) -> Tensor:
        """Return embeddings, (B, E)."""
        embeddings: Tensor = head(states)
        return embeddings

    def answers(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return the embedding of each recording."""
        return [{"embedding": own} for own in as_rows(predictions).tolist()]

    def similarities(self, head: Head, predictions: Predictions, one: Tensor, other: Tensor) -> Tensor:
        """Return the score of each pair, (N,): the cosine, or the log likelihood ratio of one speaker to two."""
        return pair_scores(as_rows(predictions), one, other, comparison_of(self._head.kind))
