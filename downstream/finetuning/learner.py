"""One head that learns together with its encoder, for the loop that trains all heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from downstream.data import Dataset
from downstream.finetuning.model import EncoderWithHead
from downstream.finetuning.settings import learned_of, optimizer_of
from downstream.finetuning.shards import Shard, shards_of
from downstream.recipes import Descent, FinetuneSettings
from downstream.states import Computed, cut_of, window_of, windowed_all
from downstream.tasks import Head, Needs, Predictions, Task
from downstream.training import (
    KEPT,
    Config,
    RandomState,
    Schedule,
    Survivors,
    Update,
    derived,
    device_of_heads,
    make_optimizer,
    moments_of,
    predict,
    rates,
    restore_moments,
    summed,
    synchronised,
    under,
)
from upstream.base import Upstream
from upstream.catalog import torch_dtype
from upstream.encode import Item, NotFiniteError, waveforms_ahead, workers_for
from upstream.ranks import Ranks


class FineTuning:
    """One config of one fold: an encoder that begins as the upstream is, and its head; a `Learner`.

    Of several processes each computes its shard of every update, and all take the same step; the first alone predicts.
    Nothing random has a state to resume: all of it is drawn anew for each update, from the config's seed.

    audio_seconds: that the encoder learned from so far, in all processes.
    """

    kind = "FineTuning"
    single_threaded = False

    def __init__(
        self,
        fold: int,
        config: Config,
        task: Task,
        head: Head,
        upstream: Upstream,
        dataset: Dataset,
        descent: Descent,
        settings: FinetuneSettings,
        needs: Needs,
        ranks: Ranks,
    ) -> None:
        """task: of the fold. head: built and fitted, on the upstream's device. needs: what heads read in tests."""
        self.fold, self.survivors = fold, Survivors(1)
        self.configs: Sequence[Config] = [config]
        self.audio_seconds = 0.0
        self._task, self._items, self._needs, self._ranks = task, dataset.items, needs, ranks
        self._device, self._name = upstream.device, upstream.name
        training, crop = descent.training, descent.training.crop
        self._window, cut = window_of(crop), cut_of(upstream, crop)
        self._encoder = upstream.trainable(learned_of(settings))
        self._head = head
        self._model = EncoderWithHead(self._encoder, head, task, torch_dtype(settings.precision), cut).train()
        self._synchronised = synchronised(self._model, ranks)
        self._clip, steps = training.clip, training.steps
        own = optimizer_of(settings, config.rate, steps)
        encoder = [(parameter, config.rate) for _, parameter in self._encoder.learned()]
        of_head = rates(head, descent.optimizer.lr, descent.optimizer.mix_lr)
        self._optimizers = {"encoder": make_optimizer(encoder, own), "head": make_optimizer(of_head, descent.optimizer)}
        self._schedules = {"encoder": Schedule(own, steps), "head": Schedule(descent.optimizer, steps)}
        self._scaler = GradScaler(self._device.type, enabled=settings.precision == "float16")

    def learn(self, updates: Sequence[Update]) -> Tensor:
        losses = torch.zeros(1, len(updates), dtype=torch.float64)
        shards = [list(shards_of(update, self.configs[0].seed, self._ranks)) for update in updates]
        batches = [self._batch(shard) for own in shards for shard in own]
        with closing(waveforms_ahead(batches, workers_for(self._device))) as decoded:
            for number, (update, own) in enumerate(zip(updates, shards, strict=True)):
                self._encoder.step_seed = derived(self.configs[0].seed, f"blocks of update {update.step}")
                loss = sum(self._accumulate(next(decoded), shard, update.step, part) for part, shard in enumerate(own))
                losses[0, number] = summed(loss, self._device, self._ranks)
                self._take_step(update.step)
                self.audio_seconds += sum(
                    self._items[index].seconds for part in update.parts for index in part.tolist()
                )
        return losses

    def predict(self, utterances: Tensor) -> dict[int, Predictions]:
        """Return the head's predictions on a frozen copy of the encoder; nothing in other processes than the first.

        A config whose encoder gives states that are not finite has diverged.
        """
        if not self._ranks.main:
            return {}
        frozen = self._encoder.upstream(self._name, self._device, torch.float32)
        source = Computed(frozen, self._items, self._needs)
        self._model.eval()
        where = device_of_heads(source, self._device)
        try:
            (found,) = predict([self._head], self._task, utterances.tolist(), source, where)
        except NotFiniteError:
            return {}
        finally:
            self._model.train()
        return {0: found}

    def weights(self, index: int) -> dict[str, Tensor]:
        """Return a copy of what learned of the encoder, "encoder.NAME", and of the head, "head.NAME"."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._numbers().items()}

    def state(self, index: int) -> dict[str, Tensor]:
        moments = {
            f"optimizer.{kind}.{name}": tensor
            for kind, optimizer in self._optimizers.items()
            for name, tensor in moments_of(optimizer).items()
        }
        scale = {f"scaler.{name}": torch.tensor(value) for name, value in self._scaler.state_dict().items()}
        return self._numbers() | moments | scale | self.survivors.state(index)

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        self.survivors.restore(index, state)
        self.take(state)
        for kind, optimizer in self._optimizers.items():
            restore_moments(optimizer, under(state, f"optimizer.{kind}."))
        if scale := under(state, "scaler."):
            self._scaler.load_state_dict({name: value.item() for name, value in scale.items()})

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder with these `weights` as a Hugging Face directory."""
        self.take(weights)
        self._encoder.save(folder)

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Set encoder and head to `weights`, or to those of a `state`."""
        with torch.no_grad():
            for name, tensor in self._numbers().items():
                tensor.copy_(weights[name])

    def _numbers(self) -> dict[str, Tensor]:
        """Return what learns of the encoder, and the head's numbers, buffers included."""
        encoder = {f"encoder.{name}": parameter for name, parameter in self._encoder.learned()}
        return encoder | {f"head.{name}": tensor for name, tensor in self._head.state_dict().items()}

    def _batch(self, shard: Shard) -> list[Item]:
        """Return the utterances of a shard, cut to a window of audio where training cuts it."""
        return windowed_all([self._items[index] for index in shard.utterances.tolist()], shard.places, self._window)

    def _accumulate(self, waveforms: Sequence[Tensor], shard: Shard, step: int, part: int) -> float:
        """Add one micro-batch to the gradients; return this process's part of its loss."""
        purpose = f"dropout of part {part} of update {step} in process {self._ranks.rank}"
        random = RandomState(derived(self.configs[0].seed, purpose), self._device)
        with random.in_use(), self._ranks.none_lost(KEPT):
            each = self._synchronised(waveforms, shard.seeds, shard.utterances, shard.places)
            loss = (each * shard.weights.to(each)).sum()
            # Gradients are averaged over processes, and the loss is the sum of their parts.
            self._scaler.scale(loss * self._ranks.world).backward()
        return float(loss.detach())

    def _take_step(self, step: int) -> None:
        """Let encoder and head take their step, unless the norm of the gradient is not finite."""
        optimizers = self._optimizers.values()
        for optimizer in optimizers:
            self._scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self._model.learned(), self._clip)
        takes_part = self.survivors.note(0, bool(torch.isfinite(norm)), step)
        for kind, optimizer in self._optimizers.items():
            self._schedules[kind].apply(optimizer, step)
            if takes_part:
                self._scaler.step(optimizer)
        self._scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad()
