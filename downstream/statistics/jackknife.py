"""The jackknife over clusters: a score without each test speaker in turn, for heads of several folds and seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from downstream.statistics.items import FloatArray, Items

# More clusters than these are left out in so many groups, drawn once and for all: a deviation is then known to 5 %,
# and utterances of nobody known, of which there may be tens of thousands, take no longer than 200 speakers.
GROUPS = 200
PAIR_GROUPS = 100  # of pairs of speakers, likewise


@dataclass(frozen=True, eq=False)
class SeedItems:
    """What was tested of a head of one seed, of whatever fold."""

    seed: int
    items: Items


@dataclass(frozen=True, eq=False)
class Jackknife:
    """A metric of each head with all its items, and without those of each cluster (or group of clusters) in turn.

    Behind the G clusters come P groups of pairs of them, where items depend on two: the trials between two speakers.

    whole: (H,). values: (H, G + P), NaN where the metric is undefined. shares: (H, G + P) share of a head's items that
    depend on what is left out. seeds: (H,) of the heads. pairs: P; 0 where items depend on one cluster.
    """

    whole: FloatArray
    values: FloatArray
    shares: FloatArray
    seeds: NDArray[np.int64]
    pairs: int = 0

    @property
    def clusters(self) -> int:
        """The number of clusters (or groups of them), G."""
        return int(self.values.shape[1]) - self.pairs

    @property
    def is_defined(self) -> bool:
        """True if there are two clusters or more and the score is defined without each of them."""
        return self.clusters > 1 and bool(np.isfinite(self.without).all())

    @cached_property
    def without(self) -> FloatArray:
        """The score, a mean over heads, without each cluster and each group of pairs, (G + P,)."""
        return self._mean(np.full(len(self.seeds), True))

    @cached_property
    def of_seeds(self) -> FloatArray:
        """The score of each seed, (S,)."""
        return np.array([self.whole[self.seeds == seed].mean() for seed in np.unique(self.seeds)])

    @cached_property
    def of_seeds_without(self) -> FloatArray:
        """The score of each seed without each cluster and each group of pairs, (S, G + P)."""
        return np.stack([self._mean(self.seeds == seed) for seed in np.unique(self.seeds)])

    def _mean(self, heads: NDArray[np.bool_]) -> FloatArray:
        """Return the mean over some heads without each cluster and each group of pairs, (G + P,).

        A head counts by the share of its items that is left: a fold of one speaker disappears with that speaker, and
        for a metric that is a mean over items the result is the mean of all folds without the speaker's part of it.
        """
        left = 1.0 - self.shares[heads]
        weighted = np.where(left > 0.0, left * self.values[heads], 0.0)
        with np.errstate(invalid="ignore"):
            mean: FloatArray = weighted.sum(axis=0) / left.sum(axis=0)
        return mean

    @property
    def degrees_of_freedom(self) -> float:
        """One less than the effective number of clusters, (sum of shares)² / sum of squares (Kish 1965); 1 at least.

        Of equal clusters it is their number less one; a speaker with most of the items counts for little more than one.
        """
        sizes = self.shares[:, : self.clusters].mean(axis=0)
        return max(1.0, float(sizes.sum() ** 2 / (sizes**2).sum()) - 1.0)


def jackknives(heads: Sequence[SeedItems], metrics: Collection[str]) -> dict[str, Jackknife]:
    """Return the jackknife of every metric; all of them leave out the same."""
    groups = groups_of(cluster for head in heads for item in head.items.clusters for cluster in item)
    seeds = np.array([head.seed for head in heads])
    pieces = [leave_out(head.items, metrics, groups) for head in heads]
    shares = np.stack([own for _, own in pieces])
    return {
        metric: Jackknife(
            whole=np.array([head.items.value(metric) for head in heads]),
            values=np.stack([values[number] for values, _ in pieces]),
            shares=shares,
            seeds=seeds,
            pairs=shares.shape[1] - max(groups.values()) - 1,
        )
        for number, metric in enumerate(metrics)
    }


def clusters_variance(without: FloatArray, pairs: int = 0) -> float:
    """Return the jackknife's variance of a score, or of several together.

    without: (…, G + P), the score without each cluster, then without each of P groups of pairs of clusters.

    An item of two clusters is left out with both, so that what it shares with items of the same two counts twice; that
    is the variance of leaving out pairs, which is subtracted (Aronow, Samii & Assenova, Political Analysis 23(4), 2015;
    Efron & Stein, Annals of Statistics 9(3), 1981, on how large it can be: half of all).
    """
    split = without.shape[-1] - pairs
    by_clusters, by_pairs = squared_deviations(without[..., :split]), squared_deviations(without[..., split:])
    return max(by_clusters - by_pairs, by_clusters / 2) if pairs else by_clusters


def squared_deviations(without: FloatArray) -> float:
    """Return (n - 1) / n times the sum of squared deviations of n values, (…, n), summed over all of them."""
    number = without.shape[-1]
    if not number:
        return 0.0
    deviations = without - without.mean(axis=-1, keepdims=True)
    return float((number - 1) / number * (deviations**2).sum())


def groups_of(clusters: Iterable[str]) -> dict[str, int]:
    """Return the group that each cluster is left out with: by itself, unless there are more than `GROUPS`.

    It depends on the names of the clusters alone, not on their order.
    """
    names = sorted(set(clusters))
    numbers = np.arange(len(names))
    if len(names) > GROUPS:
        numbers = np.random.default_rng(0).permutation(len(names)) % GROUPS
    return dict(zip(names, numbers.tolist(), strict=True))


def leave_out(items: Items, metrics: Collection[str], groups: dict[str, int]) -> tuple[FloatArray, FloatArray]:
    """Return every metric without each group, then without each group of pairs, and the share of items left out.

    Both are (…, G + P), metrics first; P is 0 where items depend on one cluster.
    """
    own = np.array([(groups[clusters[0]], groups[clusters[-1]]) for clusters in items.clusters])
    number = max(groups.values()) + 1
    left_out: Iterator[NDArray[np.bool_]] = ((own == group).any(axis=1) for group in range(number))
    length = number
    if len(items.clusters[0]) == 2:
        pairs, length = groups_of_pairs(own, number), number + PAIR_GROUPS
        left_out = chain(left_out, (pairs == group for group in range(PAIR_GROUPS)))
    values = np.tile(np.array([[items.value(metric)] for metric in metrics]), length)
    shares = np.zeros(length)
    for place, out in enumerate(left_out):
        if out.any():
            shares[place] = out.mean()
            weights = (~out).astype(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                values[:, place] = [items.value(metric, weights) if weights.any() else np.nan for metric in metrics]
    return values, shares


def groups_of_pairs(own: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return the group of the two different clusters of each item, (N,), drawn once and for all; -1 of an item of one.

    own: (N, 2) the clusters of each item, which are fewer than `number`.
    """
    low, high = own.min(axis=1), own.max(axis=1)
    of_pair = np.random.default_rng(0).permutation(number**2) % PAIR_GROUPS
    return np.where(low == high, -1, of_pair[low * number + high])
