"""Pre-training by masked prediction of codebooks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from downstream.pretraining.model import Prediction, PretrainingModel, Progress, Spread, masked_frames
from downstream.pretraining.speech import Stream
from downstream.pretraining.targets import Codebook, perplexity
from downstream.pretraining.windows import WindowOfSpeech
from downstream.recipes import MaskedPredictionSettings
from upstream.wavlm.pretraining import MaskedPrediction, weighted_loss
from upstream.wavlm.training import TrainableWavLM


class PredictsCodes(PretrainingModel):
    """Predicts the codes of masked frames, and of the others with a smaller weight, from the last layer.

    The loss of each codebook is divided by the logarithm of its size, so that all count alike. Where inner layers
    predict them too, the loss is the mean over layers; what is measured is the last one's.
    """

    objective: MaskedPrediction

    def __init__(
        self,
        encoder: TrainableWavLM,
        settings: MaskedPredictionSettings,
        codebooks: Sequence[Codebook],
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        """seed: of the objective's first weights."""
        clusters = {book.target.called: book.target.clusters for book in codebooks}
        kind = encoder.dim, clusters, settings.logits, settings.projection, settings.temperature, seed
        objective = MaskedPrediction(*kind, settings.inner)
        super().__init__(encoder, objective, dtype)
        self._settings, self._codebooks = settings, codebooks
        self._weights = torch.tensor([1.0 / math.log(count) for count in clusters.values()])

    def forward(self, waveforms: Sequence[Tensor], windows: Sequence[WindowOfSpeech], progress: Progress) -> Tensor:
        states, _ = self.encode(waveforms, windows)
        predicted = self.objective.of_layers(states, self._codes(windows))
        masked, weights = masked_frames(windows).to(states.device), self._weights.to(states.device)
        shares = self._settings.masked, progress.between(self._settings.unmasked)
        losses = [
            weighted_loss(one, masked, weights, *shares, (progress.masked, progress.unmasked)) for one in predicted
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def measure(self, held: Sequence[tuple[Stream, WindowOfSpeech]]) -> tuple[tuple[Prediction, ...], list[float]]:
        spread, found = Spread(), []
        for waveforms, windows in self.batches(held):
            states, _ = self.encode(waveforms, windows)
            predicted = self.objective(states[-1], self._codes(windows))
            masked = masked_frames(windows).to(states.device)
            spread.add(states, masked)
            found.append((predicted.losses, predicted.right.float(), predicted.codes, masked))
        losses, right, codes = (torch.cat([one[part] for one in found], dim=1).cpu() for part in range(3))
        masked = torch.cat([one[3] for one in found]).cpu()
        targets = self._codes([window for _, window in held]).cpu()
        predictions = tuple(
            Prediction(
                name,
                masked_loss=mean(losses[number][masked]),
                masked_accuracy=100 * mean(right[number][masked]),
                codes=perplexity(codes[number], self.objective.clusters[name]),
                ignorant=math.log(perplexity(targets[number], self.objective.clusters[name])),
                unmasked_loss=mean(losses[number][~masked]),
                unmasked_accuracy=100 * mean(right[number][~masked]),
            )
            for number, name in enumerate(self.objective.names)
        )
        return predictions, spread.values()

    def _codes(self, windows: Sequence[WindowOfSpeech]) -> Tensor:
        """Return the targets of some windows, (C, N) int64."""
        rows = [
            torch.cat([book.codes[one.stream][one.frame :][: len(one.mask)] for one in windows])
            for book in self._codebooks
        ]
        return torch.stack(rows).long().to(self.encoder.device)


def mean(values: Tensor) -> float:
    """Return the mean of some values; 0 of none."""
    return float(values.double().mean()) if len(values) else 0.0
