"""Many heads on pooled states in memory, trained as one batched program: what every such learner shares.

All products are batched over configs (never over rows of several configs at once), and every config's weights begin
at an aligned address. So a config's bits do not depend on which others share its stack, as long as the matrix
library treats equal shapes and alignments equally: verified for WavLM's shapes; with states of odd widths (39 of
mfcc) or odd numbers of classes a config can differ from itself alone by rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from downstream.recipes import OptimizerSettings, TrainingSettings
from downstream.tasks import Head, Predictions, Task
from downstream.training.learner import Schedule, Survivors, make_optimizer
from downstream.training.order import Update
from downstream.training.sweep import Config

# Bytes of weights, gradients and two moments that one stack may hold: enough configs to share the cost of calling
# operations, and few enough for a stack on every core. Measured on two cores at Base's 13 x 768: stacks of two configs
# take 1.3 times as long per config as stacks of five, and larger ones are no faster.
STACK_BYTES = 16 << 20

ALIGNED = 16  # numbers, 64 bytes: kernels sum in another order where a row is not aligned

PREDICTED_AT_ONCE = 256  # utterances whose states are mixed at a time


class StackedLearner(ABC):
    """Configs of one fold, their weights stacked; a `Learner`.

    The weights of the projections are (N, P, D), and the rows of a matrix hold the rest. What differs is the loss:
    a subclass writes the gradients of an update, and predicts.
    """

    kind: str
    single_threaded = True

    def __init__(
        self,
        fold: int,
        configs: Sequence[Config],
        heads: Sequence[Head],
        states: Tensor,
        optimizer: OptimizerSettings,
        training: TrainingSettings,
    ) -> None:
        """heads: as built, one for each config. states: (L, U, D) of all utterances of the corpus."""
        self.fold, self.configs, self.survivors = fold, configs, Survivors(len(configs))
        self._schedule = Schedule(optimizer, training.steps)
        self._mixes = torch.tensor([config.layer is None for config in configs])[:, None]
        self._one_hot = torch.stack([torch.tensor(head.weighted_sum.proportions()) for head in heads])
        self._read = layers_read(self._one_hot)
        self._states, self._clip = states[self._read], training.clip
        self._weights = Stack.of([dict(head.named_parameters()) for head in heads], optimizer.mix_lr is not None)
        self._buffers = [dict(head.named_buffers()) for head in heads]
        # The same numbers in all heads of a fold.
        self._prepared = partial(heads[0].weighted_sum.prepared, first=self._read.start)
        self._gradients = Stack.like(self._weights)
        self._moments = Stack.like(self._weights), Stack.like(self._weights)
        rates = [[config.rate, config.rate, optimizer.mix_lr or 0.0][: self._weights.kinds] for config in configs]
        self._steps = torch.zeros(len(configs), self._weights.kinds)
        self._optimizer = make_optimizer(zip(chain(*self._weights.rows), chain(*rates), strict=True), optimizer)
        for index, rows in enumerate(self._weights.rows):
            for number, row in enumerate(rows):
                first, second = (moment.rows[index][number] for moment in self._moments)
                step = self._steps[index, number]
                self._optimizer.state[row] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
        self._batch = torch.empty(0)

    def learn(self, updates: Sequence[Update]) -> Tensor:
        return torch.stack([self._update(update) for update in updates], dim=1).double()

    @abstractmethod
    def predict(self, utterances: Tensor) -> Mapping[int, Predictions]:
        """Return the predictions of every config that has not diverged."""

    @abstractmethod
    def _update(self, update: Update) -> Tensor:
        """Carry out one update of every config; return the losses, (N,)."""

    def weights(self, index: int) -> dict[str, Tensor]:
        return {name: part[index].clone() for name, part in self._weights.parts.items()} | self._buffers[index]

    def state(self, index: int) -> dict[str, Tensor]:
        return self._numbers(index) | self.survivors.state(index)

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        for name, own in self._numbers(index).items():
            own.copy_(state[name])
        self.survivors.restore(index, state)

    def _numbers(self, index: int) -> dict[str, Tensor]:
        """Return the weights and moments of one head, as views."""
        stacks = {"weights": self._weights, "first": self._moments[0], "second": self._moments[1]}
        numbers = {
            f"{name}.{kind}": row
            for name, stack in stacks.items()
            for kind, row in zip(("large", "small", "layers"), stack.rows[index], strict=False)
        }
        return numbers | {"steps": self._steps[index]}

    def _gather(self, utterances: Tensor) -> Tensor:
        """Return the states of utterances in the layers that are read, (K, B, D), in a reused buffer."""
        shape = (self._states.shape[0], len(utterances), self._states.shape[2])
        if self._batch.shape != shape:
            self._batch = torch.empty(shape)
        return torch.index_select(self._states, 1, utterances, out=self._batch)

    def _proportions(self, weights: Tensor | None = None) -> Tensor:
        """Return the share of each layer that is read in each config, (N, K); weights: of all layers, (N, L)."""
        own = self._weights.parts["weighted_sum.weights"] if weights is None else weights
        return torch.where(self._mixes, own.softmax(dim=1), self._one_hot)[:, self._read]

    def _clipping(self, norms: Tensor) -> Tensor:
        """Return the factors that clip gradients of these norms, (N,), as torch.nn.utils.clip_grad_norm_ does it."""
        return (self._clip / (norms + 1e-6)).clamp(max=1.0)

    def _take_step(self, norms: Tensor, step: int) -> None:
        """Let every config take its step, unless it has diverged or the norm of its gradient is not finite."""
        for index, finite in enumerate(norms.isfinite().tolist()):
            takes_part = self.survivors.note(index, finite, step)
            for row, gradient in zip(self._weights.rows[index], self._gradients.rows[index], strict=True):
                row.grad = gradient if takes_part else None
        self._schedule.apply(self._optimizer, step)
        self._optimizer.step()


def layers_read(proportions: Tensor) -> slice:
    """Return the layers that some config reads, and those between; proportions: of each layer in each config, (N, L).

    The others would be gathered, and weighed with zero, for nothing.
    """
    layers = proportions.any(dim=0).nonzero().flatten().tolist()
    return slice(layers[0], layers[-1] + 1)


class Stack:
    """Tensors of the shapes of N heads' weights, stacked.

    large: the projections' weights, (N, P, D); small: all else, an aligned row per head.
    parts: by the names of a head's state_dict, (N, …) each; rows: the tensors of each head that the optimiser changes,
    `kinds` of them: the large one, the small one, and the weights of the layers where they have a rate of their own.
    All share memory.
    """

    LARGE = "projection.weight"
    LAYERS = "weighted_sum.weights"

    def __init__(self, shapes: Mapping[str, torch.Size], count: int, layers_apart: bool) -> None:
        """layers_apart: whether the weights of the layers are a row of their own."""
        self._shapes, self._layers_apart = shapes, layers_apart
        names = [self.LAYERS, *(name for name in shapes if name not in (self.LAYERS, self.LARGE))]
        sizes = [shapes[name].numel() for name in names]
        places = [aligned(sizes[0]) if layers_apart else sizes[0], *sizes[1:]]
        self.large = torch.zeros(count, *shapes[self.LARGE])
        self.small = torch.zeros(count, aligned(sum(places)))[:, : sum(places)]
        columns = torch.split(self.small, places, dim=1)
        self.parts = {
            name: column[:, :size].view(count, *shapes[name])
            for name, size, column in zip(names, sizes, columns, strict=True)
        } | {self.LARGE: self.large}
        rows = [self.large, self.small]
        if layers_apart:
            rows = [self.large, self.small[:, places[0] :], self.parts[self.LAYERS]]
        self.kinds = len(rows)
        self.rows = list(zip(*(row.unbind(0) for row in rows), strict=True))

    @classmethod
    def of(cls, heads: Sequence[Mapping[str, Tensor]], layers_apart: bool = False) -> Stack:
        """Return the stacked weights of heads."""
        stack = cls({name: tensor.shape for name, tensor in heads[0].items()}, len(heads), layers_apart)
        for name, part in stack.parts.items():
            torch.stack([head[name].detach() for head in heads], out=part)
        return stack

    @classmethod
    def like(cls, other: Stack) -> Stack:
        """Return zeros of the same shapes."""
        return cls(other._shapes, len(other.rows), other._layers_apart)


def aligned(size: int) -> int:
    """Return the next multiple of ALIGNED."""
    return -(-size // ALIGNED) * ALIGNED


def mix(states: Tensor, proportions: Tensor) -> Tensor:
    """Means (K, B, D) and the share of each layer in each config (N, K) -> the configs' mixes, (N, B, D)."""
    layers = states.flatten(1).expand(len(proportions), -1, -1)
    return torch.bmm(proportions.unsqueeze(1), layers).view(-1, *states.shape[1:])


def stack_size(task: Task, workers: int, total: int) -> int:
    """Return how many of `total` configs to stack: within STACK_BYTES, and so that all cores have some."""
    weights: int = sum(tensor.numel() for tensor in task.build(seed=0, layer=None).state_dict().values())
    return max(1, min(STACK_BYTES // (4 * 4 * weights), -(-total // workers)))
