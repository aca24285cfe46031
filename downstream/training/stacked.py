"""Many heads that are affine in per-layer means, trained as one batched program (`tasks.base.AffineTargets`).

The head is affine, so with collapsed weights E = O W (outputs O, projection W) the logits of a batch X of mixed means
are X Eᵀ + O b + o, and with the slope G of the loss in the logits and S = Gᵀ X every gradient follows from small
products: dW = Oᵀ S, dO = S Wᵀ + (Gᵀ1) bᵀ, db = Oᵀ Gᵀ1, do = Gᵀ1, and for the layer proportions p the sums of
M_l ∘ (G E) over a batch's means M_l. With C classes this is P / C times less work than computing the P projected
values of every utterance. It is the same head and the same Adam as one trained alone by `SeparateHeads`.

All products are batched over configs (never over rows of several configs at once), and every config's weights begin
at an aligned address. So a config's bits do not depend on which others share its stack, as long as the matrix
library treats equal shapes and alignments equally: verified for WavLM's shapes; with states of odd widths (39 of
mfcc) or odd numbers of classes a config can differ from itself alone by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from downstream.recipes import OptimizerSettings, TrainingSettings
from downstream.tasks import AffineTargets, Predictions, Task
from downstream.training.learner import Schedule, Survivors, make_optimizer
from downstream.training.order import Update
from downstream.training.sweep import Config

# Bytes of weights, gradients and two moments that one stack may hold: enough configs to share the cost of calling
# operations, and few enough for a stack on every core. Measured on two cores at Base's 13 x 768: stacks of two configs
# take 1.3 times as long per config as stacks of five, and larger ones are no faster.
STACK_BYTES = 16 << 20

ALIGNED = 16  # numbers, 64 bytes: kernels sum in another order where a row is not aligned

PREDICTED_AT_ONCE = 256  # utterances whose means are mixed at a time


class StackedHeads:
    """Configs of one fold, stacked; a `Learner`.

    The weights of N configs are stacked: W as (N, P, D), and the rows of a matrix hold the rest, b (P),
    O (C x P), o (C) and the layer weights (L).
    """

    kind = "StackedClassifiers"
    single_threaded = True

    def __init__(
        self,
        fold: int,
        configs: Sequence[Config],
        task: Task,
        means: Tensor,
        optimizer: OptimizerSettings,
        training: TrainingSettings,
    ) -> None:
        """means: (L, U, D) of all utterances of the corpus; task: with `affine` targets."""
        self.fold, self.configs, self.survivors = fold, configs, Survivors(len(configs))
        self._targets, self._means, self._clip = affine_of(task).targets, means, training.clip
        self._schedule = Schedule(optimizer, training.steps)
        heads = [task.build(config.seed, config.layer) for config in configs]
        layers = [config.layer for config in configs]
        self._mixes = torch.tensor([layer is None for layer in layers])[:, None]
        self._one_hot = torch.stack([torch.tensor(head.weighted_sum.proportions()) for head in heads])
        self._weights = Stack.of([head.state_dict() for head in heads])
        self._gradients = Stack.like(self._weights)
        self._moments = Stack.like(self._weights), Stack.like(self._weights)
        self._steps = torch.zeros(len(configs), 2)
        rates = [config.rate for config in configs for _ in range(2)]
        self._optimizer = make_optimizer(zip(chain(*self._weights.rows), rates, strict=True), optimizer)
        for index, rows in enumerate(self._weights.rows):
            for number, row in enumerate(rows):
                first, second = (moment.rows[index][number] for moment in self._moments)
                step = self._steps[index, number]
                self._optimizer.state[row] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
        self._batch = torch.empty(0)

    def learn(self, updates: Sequence[Update]) -> Tensor:
        return torch.stack([self._update(update) for update in updates], dim=1).double()

    def predict(self, utterances: Tensor) -> dict[int, Predictions]:
        """Return posteriors (U, C) of the configs that have not diverged."""
        collapsed, offset = self._collapsed()
        proportions = self._proportions()
        parts = [
            torch.baddbmm(offset, mix(self._means[:, some], proportions), collapsed.mT).softmax(dim=2)
            for some in torch.split(utterances, PREDICTED_AT_ONCE)
        ]
        posteriors = torch.cat(parts, dim=1)
        return {index: posteriors[index] for index in self.survivors}

    def weights(self, index: int) -> dict[str, Tensor]:
        return {name: part[index].clone() for name, part in self._weights.parts.items()}

    def state(self, index: int) -> dict[str, Tensor]:
        return self._numbers(index) | self.survivors.state(index)

    def restore(self, index: int, state: Mapping[str, Tensor]) -> None:
        for name, own in self._numbers(index).items():
            own.copy_(state[name])
        self.survivors.restore(index, state)

    def _numbers(self, index: int) -> dict[str, Tensor]:
        """Return the weights and moments of one head, as views."""
        stacks = {"weights": self._weights, "first": self._moments[0], "second": self._moments[1]}
        numbers = {f"{name}.large": stack.rows[index][0] for name, stack in stacks.items()}
        numbers |= {f"{name}.small": stack.rows[index][1] for name, stack in stacks.items()}
        return numbers | {"steps": self._steps[index]}

    # ------------------------------------------------------------ one update

    def _update(self, update: Update) -> Tensor:
        """Carry out one update of every config; return the losses, (N,)."""
        states = self._gather(update.utterances)
        proportions = self._proportions()
        mixed = mix(states, proportions)
        collapsed, offset = self._collapsed()
        logits = torch.baddbmm(offset, mixed, collapsed.mT)
        losses, slope = cross_entropy(logits, self._targets[update.utterances], update.weights)
        norms = self._differentiate(states, proportions, mixed, collapsed, slope)
        self._take_step(norms, update.step)
        return losses

    def _gather(self, utterances: Tensor) -> Tensor:
        """Return the means of utterances, (L, B, D), in a reused buffer."""
        shape = (self._means.shape[0], len(utterances), self._means.shape[2])
        if self._batch.shape != shape:
            self._batch = torch.empty(shape)
        return torch.index_select(self._means, 1, utterances, out=self._batch)

    def _proportions(self) -> Tensor:
        """Return the share of each layer in each config, (N, L)."""
        return torch.where(self._mixes, self._weights.parts["weighted_sum.weights"].softmax(dim=1), self._one_hot)

    def _collapsed(self) -> tuple[Tensor, Tensor]:
        """Return the two affine maps as one: O W (N, C, D) and O b + o (N, 1, C)."""
        weights = self._weights.parts
        outputs = weights["output.weight"]
        offset = (outputs * weights["projection.bias"].unsqueeze(1)).sum(dim=2) + weights["output.bias"]
        return torch.bmm(outputs, weights["projection.weight"]), offset.unsqueeze(1)

    def _differentiate(
        self, states: Tensor, proportions: Tensor, mixed: Tensor, collapsed: Tensor, slope: Tensor
    ) -> Tensor:
        """Write the clipped gradients of every config; return their norms before clipping, (N,).

        slope: of the loss in the logits, (N, B, C). The norm of dW = Oᵀ S needs no dW: |dW|² = ⟨O Oᵀ, S Sᵀ⟩.
        """
        weights, gradients = self._weights.parts, self._gradients.parts
        outputs = weights["output.weight"]
        by_class, summed = torch.bmm(slope.mT, mixed), slope.sum(dim=1, keepdim=True)  # S (N, C, D), (Gᵀ1)ᵀ (N, 1, C)
        through_bias = summed.mT * weights["projection.bias"].unsqueeze(1)
        gradients["output.weight"].copy_(torch.baddbmm(through_bias, by_class, weights["projection.weight"].mT))
        gradients["output.bias"].copy_(summed.squeeze(1))
        gradients["projection.bias"].copy_(torch.bmm(summed, outputs).squeeze(1))
        towards_mixed = torch.bmm(slope, collapsed)
        gradients["weighted_sum.weights"].copy_(self._towards_layers(states, proportions, towards_mixed))

        gram = torch.bmm(outputs, outputs.mT) * torch.bmm(by_class, by_class.mT)
        norms = (self._gradients.small.square().sum(dim=1) + gram.sum(dim=(1, 2)).clamp(min=0.0)).sqrt()
        scale = (self._clip / (norms + 1e-6)).clamp(max=1.0)[:, None]  # as torch.nn.utils.clip_grad_norm_ does it
        self._gradients.small.mul_(scale)
        torch.bmm(outputs.mT, by_class * scale.unsqueeze(2), out=gradients["projection.weight"])
        return norms

    def _towards_layers(self, states: Tensor, proportions: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient of the layer weights, (N, L), from that of the mixed means, (N, B, D)."""
        layers = states.flatten(1)
        towards = torch.stack([layers.mv(row) for row in slope.flatten(1)])
        towards -= (proportions * towards).sum(dim=1, keepdim=True)  # through the softmax
        return proportions * towards * self._mixes

    def _take_step(self, norms: Tensor, step: int) -> None:
        """Let every config take its step, unless it has diverged or the norm of its gradient is not finite."""
        for index, finite in enumerate(norms.isfinite().tolist()):
            takes_part = self.survivors.note(index, finite, step)
            for row, gradient in zip(self._weights.rows[index], self._gradients.rows[index], strict=True):
                row.grad = gradient if takes_part else None
        self._schedule.apply(self._optimizer, step)
        self._optimizer.step()


class Stack:
    """Tensors of the shapes of N heads' weights, stacked.

    large: the projections' weights, (N, P, D); small: all else, an aligned row per head.
    parts: by the names of a head's state_dict, (N, …) each; rows: the two of each head. They share memory.
    """

    LARGE = "projection.weight"

    def __init__(self, shapes: Mapping[str, torch.Size], count: int) -> None:
        self._shapes = shapes
        small = {name: shape for name, shape in shapes.items() if name != self.LARGE}
        sizes = [shape.numel() for shape in small.values()]
        self.large = torch.zeros(count, *shapes[self.LARGE])
        self.small = torch.zeros(count, -(-sum(sizes) // ALIGNED) * ALIGNED)[:, : sum(sizes)]
        columns = torch.split(self.small, sizes, dim=1)
        self.parts = {
            name: part.view(count, *shape) for (name, shape), part in zip(small.items(), columns, strict=True)
        } | {self.LARGE: self.large}
        self.rows = list(zip(self.large.unbind(0), self.small.unbind(0), strict=True))

    @classmethod
    def of(cls, heads: Sequence[Mapping[str, Tensor]]) -> Stack:
        """Return the stacked weights of heads."""
        stack = cls({name: tensor.shape for name, tensor in heads[0].items()}, len(heads))
        for name, part in stack.parts.items():
            torch.stack([head[name].detach() for head in heads], out=part)
        return stack

    @classmethod
    def like(cls, other: Stack) -> Stack:
        """Return zeros of the same shapes."""
        return cls(other._shapes, len(other.rows))


def mix(states: Tensor, proportions: Tensor) -> Tensor:
    """Means (L, B, D) and the share of each layer in each config (N, L) -> the configs' mixes, (N, B, D)."""
    layers = states.flatten(1).expand(len(proportions), -1, -1)
    return torch.bmm(proportions.unsqueeze(1), layers).view(-1, *states.shape[1:])


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ weight · cross entropy of every config, (N,), and its slope in the logits, (N, B, C).

    logits: (N, B, C); targets, weights: (B,), shared by the configs.
    """
    log_posteriors = logits.log_softmax(dim=2)
    truth = torch.nn.functional.one_hot(targets, logits.shape[2]).to(logits.dtype)
    losses = -(log_posteriors * truth).sum(dim=2).mul(weights).sum(dim=1)
    return losses, (log_posteriors.exp() - truth) * weights[:, None]


def affine_of(task: Task) -> AffineTargets:
    """Return the targets of a task whose heads can be stacked."""
    assert task.affine is not None
    return task.affine


def stack_size(task: Task, workers: int, total: int) -> int:
    """Return how many of `total` configs to stack: within STACK_BYTES, and so that all cores have some."""
    weights: int = sum(tensor.numel() for tensor in task.build(seed=0, layer=None).state_dict().values())
    return max(1, min(STACK_BYTES // (4 * 4 * weights), -(-total // workers)))
