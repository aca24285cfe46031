"""The size of what each layer adds to a sum, by which the weights of layers are to be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from downstream.data import Dataset
from downstream.states import Means, StateSource, move
from downstream.training.scoring import PREDICTED_AT_ONCE, ScoredHead

MEASURED = 64  # utterances at most whose states are read again for it; all of them where they lie in memory


@torch.no_grad()
def layer_norms(scored: Sequence[ScoredHead], dataset: Dataset, source: StateSource) -> list[float]:
    """Return the mean Euclidean norm of what heads add up of each layer, L numbers; the mean over folds.

    Vectors are those of frames, or of what is pooled of an utterance where heads read that, standardised where heads
    do so; utterances are those that the heads of each fold were tested on.
    """
    first = {one.fit.fold: one.head for one in reversed(scored)}  # heads of a fold standardise alike
    folds = dataset.split.folds
    norms = []
    for fold, head in sorted(first.items()):
        utterances = some(folds[fold].test, None if isinstance(source, Means) else -(-MEASURED // len(folds)))
        where = head.weighted_sum.weights.device
        groups = torch.split(utterances, PREDICTED_AT_ONCE)
        vectors = (head.weighted_sum.prepared(head.summed_up(move(states, where))) for states in source.batches(groups))
        norms.append(torch.cat([torch.linalg.vector_norm(one.double(), dim=2) for one in vectors], dim=1).mean(dim=1))
    found: list[float] = torch.stack(norms).mean(dim=0).tolist()
    return found


def some(utterances: Sequence[int], most: int | None) -> Tensor:
    """Return so many of the utterances at most, evenly spaced from the first to the last; None: all of them."""
    count = len(utterances) if most is None else min(most, len(utterances))
    return torch.tensor(utterances)[torch.linspace(0, len(utterances) - 1, count).round().long()]
