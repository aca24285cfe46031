"""Many linear embeddings of pooled states, trained with the AM-softmax as one batched program (`tasks.MarginTargets`).

It is the same head and the same Adam as one trained alone by `SeparateHeads`; gradients are autograd's, of the sum of
all configs' losses, in which none has a part in another's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.recipes import OptimizerSettings, TrainingSettings
from downstream.tasks import Head, MarginTargets, Predictions
from downstream.training.order import Update
from downstream.training.stack import PREDICTED_AT_ONCE, StackedLearner, mix
from downstream.training.sweep import Config


class StackedEmbeddings(StackedLearner):
    """Configs of one fold, stacked; a `Learner`.

    The weights of N configs are stacked: W as (N, P, D), and the rows of a matrix hold the rest, b (P), the classes
    (C x P) and the layer weights (L).
    """

    kind = "StackedEmbeddings"

    def __init__(
        self,
        fold: int,
        configs: Sequence[Config],
        heads: Sequence[Head],
        targets: MarginTargets,
        states: Tensor,
        optimizer: OptimizerSettings,
        training: TrainingSettings,
    ) -> None:
        """heads: as built and fitted, one for each config. states: (L, U, D or more) of all of the corpus."""
        width = dict(heads[0].named_buffers())["centre"].shape[1]
        super().__init__(fold, configs, heads, states[:, :, :width], optimizer, training)
        self._targets = targets
        self._centre, self._scale = (
            self._buffers[0][name][self._read, None] for name in ("centre", "scale")
        )  # (K, 1, D)

    def predict(self, utterances: Tensor) -> dict[int, Predictions]:
        """Return embeddings (U, P) of the configs that have not diverged."""
        groups = torch.split(utterances, PREDICTED_AT_ONCE)
        parts = [self._embed(self._states[:, some], self._weights.parts) for some in groups]
        embeddings = torch.cat(parts, dim=1)
        return {index: embeddings[index] for index in self.survivors}

    def _update(self, update: Update) -> Tensor:
        names = list(self._weights.parts)
        leaves = [self._weights.parts[name].detach().requires_grad_() for name in names]
        weights = dict(zip(names, leaves, strict=True))
        embeddings = self._embed(self._gather(update.utterances), weights)
        targets = self._targets.targets[update.utterances]
        losses = self._losses(embeddings, weights["objective.weight"], targets) @ update.weights
        for name, gradient in zip(names, torch.autograd.grad(losses.sum(), leaves), strict=True):
            self._gradients.parts[name].copy_(gradient)
        large, small = self._gradients.large, self._gradients.small
        norms = (large.square().sum(dim=(1, 2)) + small.square().sum(dim=1)).sqrt()
        factors = self._clipping(norms)
        large.mul_(factors[:, None, None])
        small.mul_(factors[:, None])
        self._take_step(norms, update.step)
        return losses.detach()

    def _embed(self, states: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """Pooled states (K, B, D) -> the embeddings of every config, (N, B, P)."""
        mixed = mix((states - self._centre) / self._scale, self._proportions(weights["weighted_sum.weights"]))
        return torch.baddbmm(weights["projection.bias"].unsqueeze(1), mixed, weights["projection.weight"].mT)

    def _losses(self, embeddings: Tensor, classes: Tensor, targets: Tensor) -> Tensor:
        """Return the AM-softmax loss of each utterance and config, (N, B); classes: (N, C, P), targets: (B,)."""
        cosines = F.normalize(embeddings, dim=2) @ F.normalize(classes, dim=2).mT
        right = F.one_hot(targets, classes.shape[1])
        log_posteriors = (self._targets.scale * (cosines - self._targets.margin * right)).log_softmax(dim=2)
        return -(log_posteriors * right).sum(dim=2)
