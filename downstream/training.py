"""The loop that learns a head: batches, updates, development score, the best step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from downstream.metrics import METRICS, IntArray, confusion_matrix
from downstream.recipe import OptimizerSettings, TrainingSettings
from downstream.tasks.classification import UtteranceClassifier, weighted_cross_entropy
from upstream.errors import MendableError


@dataclass(frozen=True)
class Examples:
    """Utterances ready to be learned from: per-layer means (L, U, D) and class indices (U,)."""

    means: Tensor
    targets: Tensor

    def take(self, indices: Sequence[int] | Tensor) -> Examples:
        chosen = torch.as_tensor(indices)
        return Examples(self.means[:, chosen], self.targets[chosen])


@dataclass
class Trained:
    """A head at its best step.

    step: the update after which the development score was best.
    development: that score.
    history: (update, training loss, development score) at every evaluation; empty for a head read back from disk.
    """

    head: UtteranceClassifier
    step: int
    development: float
    history: list[tuple[int, float, float]] = field(default_factory=list)


def train(
    head: UtteranceClassifier,
    training: Examples,
    development: Examples,
    optimizer_settings: OptimizerSettings,
    settings: TrainingSettings,
    seed: int,
    progress: tqdm[Any] | None = None,
) -> Trained:
    """Learn `head`; return it with the weights of the step whose development score was best.

    A later step must be strictly better to be preferred. `seed` decides the order of utterances alone. An
    update whose gradient norm is not finite is skipped but counted, as in s3prl; a loss that is finite at
    no evaluation raises MendableError.
    """
    optimizer = make_optimizer(head, optimizer_settings)
    batches = micro_batches(len(training.targets), settings.batch, settings.accumulate, seed)
    select = METRICS[settings.select]
    best: dict[str, Tensor] | None = None
    result = Trained(head, step=0, development=-1.0)
    losses: list[Tensor] = []
    for step, (indices, weights) in zip(range(1, settings.steps + 1), batches, strict=False):
        batch = training.take(indices)
        loss = weighted_cross_entropy(head(batch.means), batch.targets, weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(nn.utils.clip_grad_norm_(head.parameters(), settings.clip)):
            optimizer.step()
        losses.append(loss.detach())
        if progress is not None:
            progress.update()
        if step % settings.evaluate_every == 0 or step == settings.steps:
            mean_loss = float(torch.stack(losses).mean())
            losses.clear()
            score = select(confusion(head, development))
            result.history.append((step, mean_loss, score))
            if score > result.development and mean_loss < float("inf"):
                result.step, result.development = step, score
                best = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    if best is None:
        raise MendableError(
            f"Training diverged: with learning rate {optimizer_settings.lr:g} the loss was not finite at any of "
            f"{len(result.history)} evaluations. Lower it, for example -o optimizer.lr={optimizer_settings.lr / 10:g}."
        )
    head.load_state_dict(best)
    return result


def make_optimizer(head: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Adam or AdamW over weighted sum and head alike, PyTorch's default betas and epsilon."""
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    learned = [parameter for parameter in head.parameters() if parameter.requires_grad]
    return kinds[settings.name](learned, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def micro_batches(count: int, size: int, accumulate: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of utterance indices and their weights in the loss, both (B,).

    A batch is `accumulate` micro-batches of `size`; it runs on across the ends of epochs. As in s3prl every
    micro-batch weighs the same, so in the last, smaller one of an epoch each utterance weighs more.
    Every epoch is a fresh permutation from one generator.
    """

    def single() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield from torch.split(torch.randperm(count, generator=generator), size)

    stream = single()
    while True:
        parts = [next(stream) for _ in range(accumulate)]
        weights = [torch.full((len(part),), 1.0 / (accumulate * len(part))) for part in parts]
        yield torch.cat(parts), torch.cat(weights)


@torch.no_grad()
def posteriors(head: UtteranceClassifier, examples: Examples) -> Tensor:
    """Class probabilities of every utterance, (U, C)."""
    logits: Tensor = head(examples.means)
    return logits.softmax(dim=1)


def confusion(head: UtteranceClassifier, examples: Examples) -> IntArray:
    """Counts (truth, predicted) over the examples, (C, C)."""
    predicted = posteriors(head, examples).argmax(dim=1)
    return confusion_matrix(examples.targets.numpy(), predicted.numpy(), head.output.out_features)
