"""Comparison of two embeddings: their cosine, or the log likelihood ratio of one speaker to two."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Comparable(NamedTuple):
    """Embeddings prepared so that the score of two is their inner product, and both offsets where there are some.

    vectors: (U, E). offsets: (U,), or None for zeros.
    """

    vectors: Tensor
    offsets: Tensor | None


Comparison = Callable[[Tensor], Comparable]  # of embeddings (U, E)


def cosine(embeddings: Tensor) -> Comparable:
    """The score is the cosine; that of a vector of zeros is zero."""
    return Comparable(F.normalize(embeddings, dim=1), None)


def offset_product(embeddings: Tensor) -> Comparable:
    """The last number of an embedding is its offset: how a log likelihood ratio is written (`PLDAHead`)."""
    return Comparable(embeddings[:, :-1], embeddings[:, -1])


def comparison_of(kind: str) -> Comparison:
    """Return the comparison of a kind of head."""
    return offset_product if kind == "plda" else cosine
