"""The size of each layer's states, by which the weights of a sum of layers are to be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from downstream.states.sources import Means, StateSource
from upstream.base import HiddenStates, States

MEASURED = 64  # utterances at most whose states are read again for it; all of them where they lie in memory
AT_ONCE = 8  # utterances whose states are held at a time


@torch.no_grad()
def layer_norms(source: StateSource, utterances: Sequence[int], dim: int) -> list[float]:
    """Return the mean Euclidean norm of each layer's states, L numbers.

    dim: D of the upstream. A norm is that of a vector that heads add up over layers: of a frame, or of an utterance's
    mean where they read that (the first D of statistics). Where states are not in memory, MEASURED of the utterances
    are read, evenly spaced.
    """
    count = len(utterances) if isinstance(source, Means) else min(MEASURED, len(utterances))
    chosen = torch.tensor(utterances)[torch.linspace(0, len(utterances) - 1, count).round().long()]
    norms = [norms_of(states, dim) for states in source.batches(torch.split(chosen, AT_ONCE))]
    found: list[float] = torch.cat(norms, dim=1).mean(dim=1).tolist()
    return found


def norms_of(states: States, dim: int) -> Tensor:
    """Return the norm of each vector of a batch by layer: (L, B) of what is pooled, (L, N) of N frames; on the CPU."""
    if isinstance(states, HiddenStates):
        vectors = torch.cat([states.utterance(index) for index in range(len(states.lengths))], dim=1)
    else:
        vectors = states[:, :, :dim]
    norms: Tensor = torch.linalg.vector_norm(vectors.double(), dim=2)
    return norms.cpu()
