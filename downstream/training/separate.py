"""Heads of any kind, each a module with its own optimiser, trained on shared batches of states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from downstream.recipes import OptimizerSettings, TrainingSettings
from downstream.states import StateSource, move
from downstream.tasks import Head, Predictions, Task
from downstream.training.learner import Schedule, Survivors, make_optimizer
from downstream.training.order import Update
from downstream.training.scoring import predict
from downstream.training.seeds import derived
from downstream.training.sweep import Config
from upstream.base import States
from upstream.errors import UserError


class SeparateHeads:
    """Configs of one fold, one module each; a `Learner`.

    The states of a batch are fetched or computed once and read by every head.
    """

    kind = "SeparateHeads"
    single_threaded = False

    def __init__(
        self,
        fold: int,
        configs: Sequence[Config],
        task: Task,
        source: StateSource,
        optimizer: OptimizerSettings,
        training: TrainingSettings,
        device: torch.device | None = None,
        heads: Sequence[Head] | None = None,
    ) -> None:
        """device: of the heads, the CPU by default. heads: there already, one for each config; else they are built."""
        self.fold, self.configs, self.survivors = fold, configs, Survivors(len(configs))
        self._task, self._source, self._clip = task, source, training.clip
        self._schedule = Schedule(optimizer, training.steps)
        self._device = device or torch.device("cpu")
        self._heads = list(heads or [task.build(config.seed, config.layer).to(self._device) for config in configs])
        if not all(learned(head) for head in self._heads):
            raise UserError("A head has nothing to learn; make its recipe a Recipe, not a LearnedRecipe, or drop -l.")
        self._optimizers = [
            make_optimizer(rates(head, config.rate, optimizer.mix_lr), optimizer)
            for head, config in zip(self._heads, configs, strict=True)
        ]
        self._generators = [RandomState(derived(config.seed, "dropout"), self._device) for config in configs]

    def learn(self, updates: Sequence[Update]) -> Tensor:
        losses = torch.zeros(len(self.configs), len(updates), dtype=torch.float64)
        stream = self._source.batches(
            [part for update in updates for part in update.parts],
            [places for update in updates for places in update.places],
        )
        for number, update in enumerate(updates):
            for part in update.parts:
                losses[:, number] += self._accumulate(move(next(stream), self._device), part, update.weights_of(part))
            self._take_step(update.step)
        return losses

    def predict(self, utterances: Tensor) -> dict[int, Predictions]:
        living = dict(self._living())
        for head in self._heads:
            head.eval()
        predictions = predict(list(living.values()), self._task, utterances.tolist(), self._source, self._device)
        for head in self._heads:
            head.train()
        return dict(zip(living, predictions, strict=True))

    def weights(self, index: int) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self._heads[index].state_dict().items()}

    def state(self, index: int) -> dict[str, Tensor]:
        state = {f"head.{name}": tensor for name, tensor in self._heads[index].state_dict().items()}
        state |= {f"generator.{name}": own for name, own in self._generators[index].own.items()}
        state |= {f"optimizer.{name}": tensor for name, tensor in moments_of(self._optimizers[index]).items()}
        return state | self.survivors.state(index)

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        self.survivors.restore(index, state)
        self._heads[index].load_state_dict(under(state, "head."))
        self._generators[index].own = under(state, "generator.")
        restore_moments(self._optimizers[index], under(state, "optimizer."))

    def _living(self) -> Iterator[tuple[int, Head]]:
        return ((index, self._heads[index]) for index in self.survivors)

    def _accumulate(self, states: States, utterances: Tensor, weights: Tensor) -> Tensor:
        """Add one micro-batch to every head's gradient; return the losses, (N,)."""
        losses = torch.zeros(len(self.configs), dtype=torch.float64)
        for index, head in self._living():
            with self._generators[index].in_use():
                each = self._task.losses(head, states, utterances)
                loss = (each * weights.to(each)).sum()
                loss.backward()  # type: ignore[no-untyped-call]
            losses[index] = loss.detach()
        return losses

    def _take_step(self, step: int) -> None:
        """Let every head take its step, unless the norm of its gradient is not finite."""
        for index, head in self._living():
            norm = nn.utils.clip_grad_norm_(head.parameters(), self._clip)
            if self.survivors.note(index, bool(torch.isfinite(norm)), step):
                self._schedule.apply(self._optimizers[index], step)
                self._optimizers[index].step()
            self._optimizers[index].zero_grad()


class RandomState:
    """Random state of one head, for dropout and the like.

    Modules draw from PyTorch's global generators, which have this state while it is `in_use`.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.own = {"cpu": torch.Generator().manual_seed(seed).get_state()}
        self._cuda = device if device.type == "cuda" else None
        if self._cuda is not None:
            self.own["cuda"] = torch.Generator(self._cuda).manual_seed(seed).get_state()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Set the global generators to this head's state; restore them afterwards."""
        before = self._current()
        self._set(self.own)
        try:
            yield
        finally:
            self.own = self._current()
            self._set(before)

    def _current(self) -> dict[str, Tensor]:
        state = {"cpu": torch.get_rng_state()}
        if self._cuda is not None:
            state["cuda"] = torch.cuda.get_rng_state(self._cuda)
        return state

    def _set(self, state: Mapping[str, Tensor]) -> None:
        torch.set_rng_state(state["cpu"])
        if self._cuda is not None:
            torch.cuda.set_rng_state(state["cuda"], self._cuda)


def learned(head: nn.Module) -> list[Tensor]:
    return [parameter for parameter in head.parameters() if parameter.requires_grad]


def rates(head: Head, rate: float, mix_rate: float | None) -> list[tuple[Tensor, float]]:
    """Return what a head learns, each tensor with its learning rate; mix_rate: of the weights of the layers."""
    own = {id(head.weighted_sum.weights): mix_rate or rate}
    return [(tensor, own.get(id(tensor), rate)) for tensor in learned(head)]


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimiser keeps of each parameter, by the parameter's number and its name: "0.exp_avg"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, moments in state.items() for name, tensor in moments.items()}


def restore_moments(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Set what `moments_of` returned."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the part of a state whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
