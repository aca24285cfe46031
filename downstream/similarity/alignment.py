"""Linear centred kernel alignment (CKA) with the unbiased estimate of HSIC, averaged over minibatches.

Kornblith, Norouzi, Lee & Hinton, "Similarity of Neural Network Representations Revisited" (2019), define CKA as
HSIC(K, M) / sqrt(HSIC(K, K) HSIC(M, M)), of the Gram matrices K = X X' and M = Y Y' of the same examples. Their
estimate of HSIC is biased: of independent layers as wide as the examples are many it is far from 0. Nguyen, Raghu &
Kornblith, "Do Wide and Deep Networks Learn the Same Things?" (2021), average the unbiased one (Song, Smola, Gretton,
Bedo & Borgwardt, 2012) over minibatches, for numerator and denominator each, before the ratio is formed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FEWEST = 4  # examples of a minibatch: the estimate divides by n - 3
BATCH = 512  # examples; the Gram matrices of 25 layers take 52 MB

NEGLIGIBLE = 1e-12  # share of the mean square below which a layer's variance is rounding: it is the same for all

FloatArray = NDArray[np.float64]


def linear_cka(one: Tensor, other: Tensor, batch: int = BATCH, seed: int = 0) -> FloatArray:
    """Return the linear CKA of every layer of one with every layer of the other, (L, L').

    one, other: states of the same N examples, (L, N, D) and (L', N, D'), N >= 4.
    batch: at most so many examples are compared at once; seed: of their division into minibatches.

    1 for layers that are equal but for rotation, reflection, scale and a constant; about 0 for independent ones, and by
    chance a little less. NaN for a layer that is the same for all examples.
    """
    return cka_of_batches((one[:, rows], other[:, rows]) for rows in minibatches(one.shape[1], batch, seed))


def minibatches(examples: int, batch: int, seed: int) -> list[Tensor]:
    """Return the examples of each minibatch, drawn at random: all of them once, in minibatches of nearly one size."""
    if batch < FEWEST or examples < FEWEST:
        raise ValueError(f"CKA compares {FEWEST} examples at least; there are {examples}, in batches of {batch}")
    # A division into ceil(N / batch) could leave fewer than 4 in each, where batches are that small.
    count = min(-(-examples // batch), examples // FEWEST)
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))
    return list(order.tensor_split(count))


def cka_of_batches(batches: Iterable[tuple[Tensor, Tensor]]) -> FloatArray:
    """Return linear CKA from minibatches of two upstreams' states, (L, n, D) and (L', n, D') each."""
    cross, within, within_other = zip(*map(estimates, batches), strict=True)
    both = torch.stack(cross).mean(dim=0)
    alone, alone_other = torch.stack(within).mean(dim=0), torch.stack(within_other).mean(dim=0)
    alignment: FloatArray = (both / (alone[:, None] * alone_other[None, :]).sqrt()).numpy()  # 0 / 0 is NaN
    return alignment


def estimates(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the HSIC of all pairs of layers of a minibatch, (L, L'), and of each with itself, (L,) and (L',)."""
    one, other = map(centred_grams, pair)
    return hsic_of(one, other), hsic_alone(one), hsic_alone(other)


def hsic(one: Tensor, other: Tensor) -> FloatArray:
    """Return the unbiased estimate of HSIC with linear kernels, (L, L'), of states (L, n, D) and (L', n, D')."""
    found: FloatArray = hsic_of(centred_grams(one), centred_grams(other)).numpy()
    return found


def hsic_of(one: Tensor, other: Tensor) -> Tensor:
    """Return HSIC from centred Gram matrices, (L, n, n) and (L', n, n) -> (L, L')."""
    examples = one.shape[-1]
    return one.flatten(1) @ other.flatten(1).T / (examples * (examples - 3))


def hsic_alone(grams: Tensor) -> Tensor:
    """Return the HSIC of every layer with itself from centred Gram matrices, (L, n, n) -> (L,)."""
    return torch.stack([hsic_of(gram[None], gram[None])[0, 0] for gram in grams])


def centred_grams(states: Tensor) -> Tensor:
    """Return the U-centred Gram matrices of states, (L, n, D) -> (L, n, n), in float64.

    The inner product of two of them, divided by n (n - 3), is Song et al.'s HSIC_1 (Szekely & Rizzo, "Partial Distance
    Correlation with Methods for Dissimilarities", 2014, proposition 1): the diagonal, whose terms bias the estimate,
    is zero, and so is the sum of each row.
    """
    states = states.double()
    differences = states - states.mean(dim=1, keepdim=True)  # of the Gram matrices, changes nothing but rounding
    is_constant = differences.square().sum(dim=(1, 2)) <= NEGLIGIBLE * states.square().sum(dim=(1, 2))
    states = differences.masked_fill(is_constant[:, None, None], 0.0)
    examples = states.shape[1]
    grams = states @ states.mT
    grams.diagonal(dim1=1, dim2=2).zero_()
    rows = grams.sum(dim=2) / (examples - 2)
    total = rows.sum(dim=1) / (examples - 1)
    grams += total[:, None, None] - rows[:, :, None] - rows[:, None, :]
    grams.diagonal(dim1=1, dim2=2).zero_()
    return grams
