"""Heads of any kind, each a module with an optimiser of its own, learned on shared batches of states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from downstream.settings import OptimizerSettings
from downstream.states import StateSource, move
from downstream.sweep import Point
from downstream.tasks.base import Head, Predictions, States, Task
from downstream.training.learner import Survivors, make_optimizer
from downstream.training.order import Update
from downstream.training.seeds import derived

PREDICTED_AT_ONCE = 8  # utterances whose states are held at a time


class SeparateHeads:
    """Points of one fold, one module each; a `Learner`.

    The states of a batch are fetched or computed once and read by every head.
    """

    single_threaded = False

    def __init__(
        self,
        fold: int,
        points: Sequence[Point],
        task: Task,
        source: StateSource,
        optimizer: OptimizerSettings,
        clip: float,
        device: torch.device | None = None,
    ) -> None:
        """clip: largest norm of a head's gradient; device: where the heads are learned, the CPU by default."""
        self.fold, self.points, self.survivors = fold, points, Survivors(len(points))
        self._task, self._source, self._clip = task, source, clip
        self._device = device or torch.device("cpu")
        self._heads = [task.build(point.seed, point.layer).to(self._device) for point in points]
        self._optimizers = [
            make_optimizer([(tensor, point.lr) for tensor in learned(head)], optimizer)
            for head, point in zip(self._heads, points, strict=True)
        ]
        self._generators = [RandomState(derived(point.seed, "dropout"), self._device) for point in points]

    def learn(self, updates: Sequence[Update]) -> Tensor:
        losses = torch.zeros(len(self.points), len(updates), dtype=torch.float64)
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
        groups = torch.split(utterances, PREDICTED_AT_ONCE)
        predictions: dict[int, list[Tensor]] = {index: [] for index, _ in self._living()}
        for head in self._heads:
            head.eval()
        with torch.no_grad():
            for states in self._source.batches(groups):
                here = move(states, self._device)
                for index, head in self._living():
                    predictions[index].extend(one.cpu() for one in self._task.predict(head, here))
        for head in self._heads:
            head.train()
        return dict(predictions)

    def weights(self, index: int) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self._heads[index].state_dict().items()}

    def state(self, index: int) -> dict[str, Tensor]:
        state = {f"head.{name}": tensor for name, tensor in self._heads[index].state_dict().items()}
        state |= {f"generator.{name}": own for name, own in self._generators[index].own.items()}
        for number, moments in self._optimizers[index].state_dict()["state"].items():
            state |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
        return state | self.survivors.state(index)

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        self.survivors.restore(index, state)
        self._heads[index].load_state_dict(under(state, "head."))
        self._generators[index].own = under(state, "generator.")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under(state, "optimizer.").items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = tensor
        optimizer = self._optimizers[index]
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})

    def _living(self) -> Iterator[tuple[int, Head]]:
        return ((index, self._heads[index]) for index in self.survivors)

    def _accumulate(self, states: States, utterances: Tensor, weights: Tensor) -> Tensor:
        """Add one micro-batch to every head's gradient; return the losses, (N,)."""
        losses = torch.zeros(len(self.points), dtype=torch.float64)
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
                self._optimizers[index].step()
            self._optimizers[index].zero_grad()


class RandomState:
    """Random numbers of one head, for dropout and the like.

    Modules draw from PyTorch's global generators; each head finds its own state there while it is `in_use`.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.own = {"cpu": torch.Generator().manual_seed(seed).get_state()}
        self._cuda = device if device.type == "cuda" else None
        if self._cuda is not None:
            self.own["cuda"] = torch.Generator(self._cuda).manual_seed(seed).get_state()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The global generators in this head's state; afterwards as they were."""
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


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
