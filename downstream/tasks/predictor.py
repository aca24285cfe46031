"""The part of the contract that new recordings need: heads where the dataset that they were learned from is not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from downstream.tasks.head import Head, Predictions
from upstream.base import SAMPLE_RATE, States


@dataclass(frozen=True)
class HeadContext:
    """What a file of heads tells beside the recipe and the weights, for the heads of one fold.

    outputs: names of a head's outputs (`Task.outputs`). facts: further JSON values of the family (`Task.facts`).
    num_layers, dim: L and D of the upstream. stride: samples between two frames.
    """

    outputs: Sequence[str]
    facts: Mapping[str, Any]
    num_layers: int
    dim: int
    stride: float

    @property
    def frame_seconds(self) -> float:
        """Seconds between two frames."""
        return self.stride / SAMPLE_RATE


class Predictor(ABC):
    """The heads of one fold, applied to recordings of which nothing is known.

    averages: True where the predictions of several heads may be averaged; elsewhere one head answers.
    compares: True where an answer is about a pair of recordings; `predict` then gives embeddings.
    """

    averages: ClassVar[bool] = False
    compares: ClassVar[bool] = False

    @abstractmethod
    def build(self, layer: int | None) -> Head:
        """Return a head on one layer or on the weighted sum; all of its weights and buffers are replaced by a file's.

        Raises UserError where the outputs or facts of the file are none of this family's.
        """

    @abstractmethod
    def predict(self, head: Head, states: States) -> Predictions:
        """Return a prediction for each recording of a batch, as `Task.predict` does."""

    @abstractmethod
    def answers(self, predictions: Predictions) -> Sequence[Mapping[str, Any]]:
        """Return what is answered about each recording, as JSON values by column."""

    def similarities(self, head: Head, predictions: Predictions, one: Tensor, other: Tensor) -> Tensor:
        """Return the score of each of N pairs, (N,), the higher the more alike.

        Only called where `compares`. predictions: of U recordings, on the CPU, as `head` is; one, other: (N,) int64,
        indices into them.
        """
        raise NotImplementedError(f"{type(self).__name__} compares, and does not define similarities")
