"""One stage of a pre-training: the model, its optimiser, and one update after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from downstream.pretraining.model import EncoderWithTargets, codes_of
from downstream.pretraining.targets import Codebook
from downstream.pretraining.windows import WindowOfSpeech, Windows
from downstream.recipes import DescentSettings, Stage
from downstream.training import KEPT, derived, moments_of, restore_moments, summed_all, synchronised, under
from upstream.errors import UserError
from upstream.ranks import Ranks

SKIPPED_AT_MOST = 20  # updates in a row whose gradient is not finite, after which nothing more is learned


@dataclass(frozen=True)
class Learned:
    """One update.

    figures: means over its frames, (4, C), in the order of `figures_of`. norm: of the gradient before it was clipped.
    seconds: of audio.
    """

    figures: Tensor
    norm: float
    seconds: float


class StageLearner:
    """Learns the updates of one stage, which are counted from one.

    Of several processes each computes its windows of every micro-batch, and all take the same step. Nothing random has
    a state: all of it is drawn anew for each update.
    """

    def __init__(
        self,
        model: EncoderWithTargets,
        stage: Stage,
        codebooks: Sequence[Codebook],
        windows: Windows,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self.model, self.stage, self.codebooks = model, stage, codebooks
        self._windows, self._seed, self._ranks = windows, seed, ranks
        self._synchronised = synchronised(model, ranks, all_used=model.encoder.config.layerdrop == 0.0)
        self._optimizer = optimizer_of(model, stage.optimizer)
        self._skipped = 0

    def learn(self, step: int, place: int) -> Learned:
        """Carry out update `step` of the stage, which is `place` of the whole training, counted from one each.

        Raises UserError where the gradients of many updates in a row are not finite.
        """
        batches = self._windows.update(place)
        masked = sum(int(window.mask.sum()) for batch in batches for window in batch)
        frames = masked, sum(len(window.mask) for batch in batches for window in batch) - masked
        self.model.encoder.step_seed = derived(self._seed, f"blocks of update {place}")
        unmasked = between(self.stage.objective.unmasked, (step - 1) / max(1, self.stage.steps - 1))
        figures = sum((self._micro_batch(batch, frames, unmasked) for batch in batches), torch.zeros(()))
        norm = self._take_step(step, place)
        counts = torch.tensor([frames[0], frames[0], frames[1], frames[1]], dtype=torch.float64).clamp_min(1)
        samples = sum(window.samples for batch in batches for window in batch)
        return Learned(summed_all(figures, self._ranks) / counts[:, None], norm, samples / 16_000)

    def _micro_batch(self, batch: Sequence[WindowOfSpeech], frames: tuple[int, int], unmasked: float) -> Tensor:
        """Add one micro-batch to the gradients; return the figures of this process's part."""
        own = list(batch[self._ranks.rank :: self._ranks.world])
        idle = not own  # fewer windows than processes: compute the first one again, and let it count for nothing
        own = own or [batch[0]]
        device = self.model.encoder.device
        waveforms = [self._windows.waveform(window).to(device) for window in own]
        targets = codes_of(self.codebooks, own).to(device)
        with self._ranks.none_lost(KEPT):
            loss, figures = self._synchronised(waveforms, own, targets, frames, unmasked)
            # Gradients are averaged over processes, and the loss is the sum of their parts.
            (loss * (0.0 if idle else self._ranks.world)).backward()
        return (figures * (0.0 if idle else 1.0)).cpu()

    def _take_step(self, step: int, place: int) -> float:
        """Take the step, unless the gradient is not finite; return its norm before it was clipped."""
        settings = self.stage.optimizer
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip))
        for group in self._optimizer.param_groups:
            group["lr"] = rate(settings, step, self.stage.steps)
        if norm < float("inf"):
            self._optimizer.step()
            self._skipped = 0
        else:
            self._skipped += 1
        self._optimizer.zero_grad()
        if self._skipped == SKIPPED_AT_MOST:
            raise UserError(
                f"The gradient was not finite in {SKIPPED_AT_MOST} updates in a row, at update {place} for the last "
                f"time: the training has diverged. Take a lower optimizer.lr than {settings.lr:g}, or a longer warm-up."
            )
        return norm

    def state(self) -> dict[str, Tensor]:
        """Return all that the stage needs to resume, on the CPU; no copies there."""
        weights = {f"model.{name}": tensor.detach().cpu() for name, tensor in self.model.named_parameters()}
        moments = {f"optimizer.{name}": tensor.cpu() for name, tensor in moments_of(self._optimizer).items()}
        return weights | moments | {"skipped": torch.tensor(self._skipped)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a `state`."""
        take(self.model, under(state, "model."))
        restore_moments(self._optimizer, under(state, "optimizer."))
        self._skipped = int(state["skipped"])


def take(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set those parameters of a model that `weights` has in the same shape."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights and weights[name].shape == parameter.shape:
                parameter.copy_(weights[name])


def optimizer_of(model: nn.Module, settings: DescentSettings) -> torch.optim.AdamW:
    """Return AdamW over all parameters; matrices and kernels decay, biases, gains and single vectors do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.epsilon, fused=True)


def rate(settings: DescentSettings, step: int, steps: int) -> float:
    """Return the learning rate of update `step` of `steps`: up in the warm-up, then down to `last`."""
    warmup = round(settings.warmup * steps)
    if step <= warmup:
        return settings.lr * step / warmup
    return settings.lr * between((1.0, settings.last), (step - 1 - warmup) / max(1, steps - warmup))


def between(ends: tuple[float, float], share: float) -> float:
    """Return what lies at this share of the way from the first end to the second."""
    return ends[0] + (ends[1] - ends[0]) * share
