"""An encoder and the objective that it learns by: windows of speech in, sums of losses out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from downstream.pretraining.targets import Codebook
from downstream.pretraining.windows import WindowOfSpeech
from downstream.recipes import MaskedPredictionSettings
from upstream.wavlm.masking import Masks
from upstream.wavlm.pretraining import MaskedPrediction, Predicted, weighted_loss
from upstream.wavlm.training import TrainableWavLM


@dataclass(frozen=True)
class Learnt:
    """What one micro-batch gives: its part of the loss, with a graph, and figures that are summed over micro-batches.

    sums: (F,) float64. frames: masked, and unmasked.
    """

    loss: Tensor
    sums: Tensor


class EncoderWithTargets(nn.Module):
    """Masked prediction: the encoder computes in a precision that autocast chooses, losses are in float32."""

    def __init__(
        self,
        encoder: TrainableWavLM,
        objective: MaskedPrediction,
        settings: MaskedPredictionSettings,
        dtype: torch.dtype,
    ) -> None:
        """dtype: of the encoder's products."""
        super().__init__()
        self.encoder, self.objective = encoder, objective
        self._settings, self._dtype = settings, dtype
        weights = [1.0 / math.log(objective.clusters[name]) for name in objective.names]
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.weights: Tensor

    def forward(
        self,
        waveforms: Sequence[Tensor],
        windows: Sequence[WindowOfSpeech],
        targets: Tensor,
        frames: Sequence[int],
        unmasked: float,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of some windows and figures of it, (4, C): sums over masked and unmasked frames.

        waveforms, windows: one for one. targets: (C, N). frames: masked and unmasked ones of the whole update.
        unmasked: weight of the loss on unmasked frames.
        """
        masked = torch.cat([window.mask for window in windows]).to(targets.device)
        predicted = self.predicted(waveforms, windows, targets)
        loss = weighted_loss(predicted, masked, self.weights, self._settings.masked, unmasked, frames)
        return loss, figures_of(predicted, masked)

    def predicted(self, waveforms: Sequence[Tensor], windows: Sequence[WindowOfSpeech], targets: Tensor) -> Predicted:
        """Return what is predicted of every frame of some windows."""
        predicted: Predicted = self.objective(self.states(waveforms, windows)[-1], targets)
        return predicted

    def states(self, waveforms: Sequence[Tensor], windows: Sequence[WindowOfSpeech]) -> Tensor:
        """Return all layers, (L, N, D), of windows of equal length, masked as they are."""
        lower = self.training and self._dtype != torch.float32  # what is measured is exact
        device = self.encoder.device
        frames = torch.cat([window.mask for window in windows]).to(device)
        masks = Masks(frames, None, [len(window.mask) for window in windows])
        with torch.autocast(device.type, self._dtype if lower else None, enabled=lower):
            states = self.encoder.encode(list(waveforms), [window.seed for window in windows], masks)
        return states.layers.float().flatten(1, 2)


def figures_of(predicted: Predicted, masked: Tensor) -> Tensor:
    """Return sums over frames for each codebook, (4, C) float64: losses and right predictions, masked and not."""
    inside = masked.to(torch.float32)
    parts = [predicted.losses.detach(), predicted.right.to(torch.float32)]
    return torch.stack([one @ where for where in (inside, 1.0 - inside) for one in parts]).double()


def codes_of(codebooks: Sequence[Codebook], windows: Sequence[WindowOfSpeech]) -> Tensor:
    """Return the targets of some windows, (C, N) int64."""
    return torch.stack(
        [
            torch.cat([book.codes[w.stream][w.frame : w.frame + len(w.mask)] for w in windows]).long()
            for book in codebooks
        ]
    )


def clusters_of(codebooks: Sequence[Codebook]) -> Mapping[str, int]:
    """Return the number of codes of every codebook, by its name."""
    return {book.target.called: book.target.clusters for book in codebooks}
