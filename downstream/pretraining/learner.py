"""One stage of a pre-training: the model, its optimiser, and one update after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from downstream.pretraining.ahead import Ahead
from downstream.pretraining.model import PretrainingModel, Progress, masked_frames
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


@dataclass(frozen=True)
class MicroBatch:
    """The windows of a micro-batch, and this process's part of them.

    windows: of all processes. own: of this one. waveforms: (n, S) float32, of its own. share: of its own in the loss,
    which is 0 where there are fewer windows than processes and it computes the first one again.
    """

    windows: Sequence[WindowOfSpeech]
    own: Sequence[WindowOfSpeech]
    waveforms: Tensor
    share: float


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
        self._ahead = Ahead(self._drawn) if model.encoder.device.type != "cpu" else None

    def learn(self, step: int, place: int) -> Learned:
        """Carry out update `step` of the stage, which is `place` of the whole training, counted from one each.

        Raises UserError where the gradients of many updates in a row are not finite.
        """
        last = place - step + self.stage.steps
        batches = self._drawn(place) if self._ahead is None else self._ahead(place, last)
        windows = [window for batch in batches for window in batch.windows]
        mask = masked_frames(windows)
        masked, frames = int(mask.sum()), len(mask)
        progress = Progress(step, self.stage.steps, place, masked, frames - masked)
        self.model.encoder.step_seed = derived(self._seed, f"blocks of update {place}")
        loss = sum(self._micro_batch(batch, progress) for batch in batches)
        norm = self._take_step(progress)
        samples = sum(window.samples for window in windows)
        rate = self._optimizer.param_groups[0]["lr"]
        total = summed(loss, self.model.encoder.device, self._ranks)
        return Learned(total, norm, rate, samples / SAMPLE_RATE)

    def _drawn(self, place: int) -> list[MicroBatch]:
        """Return the micro-batches of an update."""
        batches = []
        for windows in self._windows.update(place):
            own = list(windows[self._ranks.rank :: self._ranks.world]) or [windows[0]]
            share = 1.0 if self._ranks.rank < len(windows) else 0.0
            waveforms = torch.stack([self._windows.waveform(window) for window in own])
            batches.append(MicroBatch(windows, own, waveforms, share))
        return batches

    def _micro_batch(self, batch: MicroBatch, progress: Progress) -> float:
        """Add one micro-batch to the gradients; return this process's part of the loss."""
        waveforms = list(batch.waveforms.to(self.model.encoder.device))
        with self._ranks.none_lost(KEPT):
            loss = self._synchronised(waveforms, batch.own, progress) * batch.share
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
