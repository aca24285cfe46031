"""Pre-training by the contrastive objective of wav2vec 2.0."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from downstream.pretraining.model import Prediction, PretrainingModel, Progress, Spread, masked_frames
from downstream.pretraining.speech import Stream
from downstream.pretraining.windows import WindowOfSpeech
from downstream.recipes import ContrastiveSettings
from upstream.wavlm.pretraining import ContrastiveLoss, ContrastiveObjective, gumbel_temperature
from upstream.wavlm.training import TrainableWavLM


class TellsApart(PretrainingModel):
    """Tells the quantized features of a masked frame from those of other masked frames of its window.

    The loss is the mean over the update's masked frames. Codebooks, dimensions and weights of the loss are those of the
    model's configuration (num_codevectors_per_group, num_negatives, diversity_loss_weight …).
    """

    objective: ContrastiveObjective

    def __init__(self, encoder: TrainableWavLM, settings: ContrastiveSettings, dtype: torch.dtype, seed: int) -> None:
        """seed: of the objective's first weights."""
        super().__init__(encoder, ContrastiveObjective.untrained(encoder.config, seed), dtype)
        self._settings = settings

    def forward(self, waveforms: Sequence[Tensor], windows: Sequence[WindowOfSpeech], progress: Progress) -> Tensor:
        self.objective.quantizer.temperature = gumbel_temperature(progress.step, *self._settings.temperature)
        states, features = self.encode(waveforms, windows)
        return self._found(states, features, windows).loss / max(1, progress.masked)

    @torch.no_grad()
    def measure(self, held: Sequence[tuple[Stream, WindowOfSpeech]]) -> tuple[tuple[Prediction, ...], list[float]]:
        spread, loss, right, codes, frames = Spread(), 0.0, 0, 0.0, 0
        for waveforms, windows in self.batches(held):
            states, features = self.encode(waveforms, windows)
            spread.add(states, masked_frames(windows).to(states.device))
            found = self._found(states, features, windows)
            loss += float(found.contrastive_loss)
            right += int((found.logits.argmax(dim=1) == 0).sum())
            codes += float(found.perplexity) * found.masked_frames
            frames += found.masked_frames
        count = max(1, frames)
        prediction = Prediction(
            "contrastive",
            masked_loss=loss / count,
            masked_accuracy=100 * right / count,
            codes=codes / count,
            ignorant=math.log(1 + self.encoder.config.num_negatives),
        )
        return (prediction,), spread.values()

    def _found(self, states: Tensor, features: Tensor, windows: Sequence[WindowOfSpeech]) -> ContrastiveLoss:
        lengths, seeds = [len(window.mask) for window in windows], [window.seed for window in windows]
        found: ContrastiveLoss = self.objective(states[-1], features.float(), lengths, masked_frames(windows), seeds)
        return found
