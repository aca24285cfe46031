"""One stage of a pre-training: the model, its optimiser, and one update after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from downstream.pretraining.model import PretrainingModel, Progress
from downstream.pretraining.windows import WindowOfSpeech, Windows
from downstream.recipes import DescentSettings, Stage
from downstream.training import KEPT, derived, moments_of, restore_moments, summed, synchronised, under
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError
from upstream.ranks import Ranks

SKIPPED_AT_MOST = 20  # updates in a row whose gradient is not finite, after which nothing more is learned


@dataclass(frozen=True)
class Learned:
    """One update.

    loss: that was minimised. norm: of the gradient before it was clipped. rate: of learning. seconds: of audio.
    """

    loss: float
    norm: float
    rate: float
    seconds: float


class StageLearner:
    """Learns the updates of one stage, which are counted from one.

    Of several processes each computes its windows of every micro-batch, and all take the same step. Nothing random has
    a state: all of it is drawn anew for each update.
    """

    def __init__(
        self,
        model: PretrainingModel,
        stage: Stage,
        windows: Windows,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self.model, self.stage = model, stage
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
        frames = sum(len(window.mask) for batch in batches for window in batch)
        progress = Progress(step, self.stage.steps, place, masked, frames - masked)
        self.model.encoder.step_seed = derived(self._seed, f"blocks of update {place}")
        loss = sum(self._micro_batch(batch, progress) for batch in batches)
        norm = self._take_step(progress)
        samples = sum(window.samples for batch in batches for window in batch)
        rate = self._optimizer.param_groups[0]["lr"]
        total = summed(loss, self.model.encoder.device, self._ranks)
        return Learned(total, norm, rate, samples / SAMPLE_RATE)

    def _micro_batch(self, batch: Sequence[WindowOfSpeech], progress: Progress) -> float:
        """Add one micro-batch to the gradients; return this process's part of the loss."""
        own = list(batch[self._ranks.rank :: self._ranks.world])
        share = 1.0
        if not own:  # fewer windows than processes: compute the first one again, and let it count for nothing
            own, share = [batch[0]], 0.0
        waveforms = [self._windows.waveform(window).to(self.model.encoder.device) for window in own]
        with self._ranks.none_lost(KEPT):
            loss = self._synchronised(waveforms, own, progress) * share
            (loss * self._ranks.world).backward()  # gradients are averaged over processes, and losses are summed
        return float(loss.detach())

    def _take_step(self, progress: Progress) -> float:
        """Take the step, unless the gradient is not finite; return its norm before it was clipped."""
        settings = self.stage.optimizer
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip))
        for group in self._optimizer.param_groups:
            group["lr"] = rate(settings, progress.step, progress.steps)
        if norm < float("inf"):
            self._optimizer.step()
            self._skipped = 0
        else:
            self._skipped += 1
        self._optimizer.zero_grad()
        if self._skipped == SKIPPED_AT_MOST:
            raise UserError(
                f"The gradient was not finite in {SKIPPED_AT_MOST} updates in a row, the last one update "
                f"{progress.place}: the training has diverged. Take a lower optimizer.lr than {settings.lr:g}, or a "
                "longer warm-up."
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
    return settings.lr * (1.0 - (1.0 - settings.last) * (step - 1 - warmup) / max(1, steps - warmup))
