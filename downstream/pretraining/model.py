"""What learns in a pre-training: an encoder and an objective on its states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from downstream.pretraining.speech import Stream
from downstream.pretraining.windows import WindowOfSpeech
from downstream.training import in_precision
from upstream.wavlm.masking import Masks
from upstream.wavlm.training import TrainableWavLM

AT_ONCE = 8  # windows that are measured together


@dataclass(frozen=True)
class Progress:
    """Where in its stage an update is.

    step: of `steps` of the stage, counted from one; place: of the whole training. masked, unmasked: frames of the
    update, over all micro-batches and processes.
    """

    step: int
    steps: int
    place: int
    masked: int
    unmasked: int

    def between(self, ends: tuple[float, float]) -> float:
        """Return what lies between two ends where this update lies between the first and the last."""
        return ends[0] + (ends[1] - ends[0]) * (self.step - 1) / max(1, self.steps - 1)


@dataclass(frozen=True)
class Prediction:
    """How well something is predicted on held-back speech.

    name: of a codebook, or "contrastive". masked_loss, unmasked_loss: nats a frame. masked_accuracy,
    unmasked_accuracy: %. codes: in use, exp of the entropy; of predictions, or of the quantizer. ignorant: the loss of
    whoever sees nothing of the frame. What is not predicted of unmasked frames is None.
    """

    name: str
    masked_loss: float
    masked_accuracy: float
    codes: float
    ignorant: float
    unmasked_loss: float | None = None
    unmasked_accuracy: float | None = None


class PretrainingModel(nn.Module, ABC):
    """An encoder and its objective. The encoder computes in a precision that autocast chooses, losses are in float32.

    A subclass implements the loss of training and the measurement.
    """

    encoder: TrainableWavLM
    objective: nn.Module

    def __init__(self, encoder: TrainableWavLM, objective: nn.Module, dtype: torch.dtype) -> None:
        """dtype: of the encoder's products while it learns; what is measured is computed in float32."""
        super().__init__()
        self.encoder, self.objective, self._dtype = encoder, objective, dtype

    @abstractmethod
    def forward(self, waveforms: Sequence[Tensor], windows: Sequence[WindowOfSpeech], progress: Progress) -> Tensor:
        """Return the part of some windows in the loss of an update: the parts of all windows add up to it."""

    @abstractmethod
    def measure(self, held: Sequence[tuple[Stream, WindowOfSpeech]]) -> tuple[tuple[Prediction, ...], list[float]]:
        """Return how well held-back windows are predicted, and the spread of every layer; see `Spread`."""

    def encode(self, waveforms: Sequence[Tensor], windows: Sequence[WindowOfSpeech]) -> tuple[Tensor, Tensor]:
        """Return the states of all layers, (L, N, D) float32, of windows of equal length with their masks, and the
        layer-normed output of the front end, (N, C)."""
        device = self.encoder.device
        masks = Masks(masked_frames(windows).to(device), None, [len(window.mask) for window in windows])
        with in_precision(self._dtype if self.training else torch.float32, device):
            features = self.encoder.features(list(waveforms))
            states = self.encoder.states_of(features, masks, [window.seed for window in windows])
        return states.float(), features

    def batches(self, held: Sequence[tuple[Stream, WindowOfSpeech]]) -> list[tuple[list[Tensor], list[WindowOfSpeech]]]:
        """Return waveforms and windows of held-back speech, a few at a time."""
        device = self.encoder.device
        parts = [held[first : first + AT_ONCE] for first in range(0, len(held), AT_ONCE)]
        return [
            (
                [stream.window(window.frame, window.samples).to(device) for stream, window in part],
                [window for _, window in part],
            )
            for part in parts
        ]


class Spread:
    """How much the states of every layer differ over frames: the root of the mean variance of their dimensions."""

    def __init__(self) -> None:
        self._moments: list[Tensor] = []
        self._frames = 0

    def add(self, states: Tensor, masked: Tensor) -> None:
        """Count the unmasked frames of some windows: states (L, N, D), masked (N,) bool."""
        seen = states[:, ~masked].double()
        self._moments.append(torch.stack([seen.sum(dim=1), seen.square().sum(dim=1)]).cpu())
        self._frames += seen.shape[1]

    def values(self) -> list[float]:
        """Return it for every layer."""
        means, squares = torch.stack(self._moments).sum(dim=0) / max(1, self._frames)
        values: list[float] = (squares - means.square()).clamp_min(0.0).mean(dim=1).sqrt().tolist()
        return values


def masked_frames(windows: Sequence[WindowOfSpeech]) -> Tensor:
    """Return the masks of some windows, (N,) bool."""
    return torch.cat([window.mask for window in windows])
