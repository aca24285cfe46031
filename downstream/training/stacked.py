"""Many heads that are affine in per-layer means, trained as one batched program (`tasks.base.AffineTargets`).

The head is affine, so with collapsed weights E = O W (outputs O, projection W) the logits of a batch X of mixed means
are X Eᵀ + O b + o, and with the slope G of the loss in the logits and S = Gᵀ X every gradient follows from small
products: dW = Oᵀ S, dO = S Wᵀ + (Gᵀ1) bᵀ, db = Oᵀ Gᵀ1, do = Gᵀ1, and for the layer proportions p the sums of
M_l ∘ (G E) over a batch's means M_l. With C classes this is P / C times less work than computing the P projected
values of every utterance. It is the same head and the same Adam as one trained alone by `SeparateHeads`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from downstream.recipes import OptimizerSettings, TrainingSettings
from downstream.tasks import AffineTargets, Head, Predictions, Task
from downstream.training.order import Update
from downstream.training.stack import PREDICTED_AT_ONCE, StackedLearner, mix
from downstream.training.sweep import Config


class StackedHeads(StackedLearner):
    """Configs of one fold, stacked; a `Learner`.

    The weights of N configs are stacked: W as (N, P, D), and the rows of a matrix hold the rest, b (P),
    O (C x P), o (C) and the layer weights (L).
    """

    kind = "StackedClassifiers"

    def __init__(
        self,
        fold: int,
        configs: Sequence[Config],
        task: Task,
        means: Tensor,
        optimizer: OptimizerSettings,
        training: TrainingSettings,
        heads: Sequence[Head] | None = None,
    ) -> None:
        """means: (L, U, D) of all utterances of the corpus; task: with `affine` targets.

        heads: there already, and fitted, one for each config; else they are built.
        """
        own = list(heads or [task.build(config.seed, config.layer) for config in configs])
        super().__init__(fold, configs, own, means, optimizer, training)
        self._targets = affine_of(task).targets

    def predict(self, utterances: Tensor) -> dict[int, Predictions]:
        """Return posteriors (U, C) of the configs that have not diverged."""
        collapsed, offset = self._collapsed()
        proportions = self._proportions()
        parts = [
            torch.baddbmm(offset, mix(self._prepared(self._states[:, some]), proportions), collapsed.mT).softmax(dim=2)
            for some in torch.split(utterances, PREDICTED_AT_ONCE)
        ]
        posteriors = torch.cat(parts, dim=1)
        return {index: posteriors[index] for index in self.survivors}

    def _update(self, update: Update) -> Tensor:
        """Carry out one update of every config; return the losses, (N,)."""
        states = self._prepared(self._gather(update.utterances))
        proportions = self._proportions()
        mixed = mix(states, proportions)
        collapsed, offset = self._collapsed()
        logits = torch.baddbmm(offset, mixed, collapsed.mT)
        losses, slope = cross_entropy(logits, self._targets[update.utterances], update.weights)
        norms = self._differentiate(states, proportions, mixed, collapsed, slope)
        self._take_step(norms, update.step)
        return losses

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
        if self._mixes.any():  # else no layer's weight is learned, and its gradient stays zero
            towards_mixed = torch.bmm(slope, collapsed)
            gradients["weighted_sum.weights"].copy_(self._towards_layers(states, proportions, towards_mixed))

        gram = torch.bmm(outputs, outputs.mT) * torch.bmm(by_class, by_class.mT)
        norms = (self._gradients.small.square().sum(dim=1) + gram.sum(dim=(1, 2)).clamp(min=0.0)).sqrt()
        scale = self._clipping(norms)[:, None]
        self._gradients.small.mul_(scale)
        torch.bmm(outputs.mT, by_class * scale.unsqueeze(2), out=gradients["projection.weight"])
        return norms

    def _towards_layers(self, states: Tensor, proportions: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient of the layer weights, (N, L), from that of the mixed means, (N, B, D)."""
        layers = states.flatten(1)
        towards = torch.stack([layers.mv(row) for row in slope.flatten(1)])
        towards -= (proportions * towards).sum(dim=1, keepdim=True)  # through the softmax
        return proportions * towards * self._mixes


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
