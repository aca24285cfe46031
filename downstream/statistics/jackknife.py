"""The jackknife over clusters: a score without each test speaker in turn, for heads of several folds and seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from downstream.statistics.items import FloatArray, Items

# More clusters than these are left out in so many groups, drawn once and for all: a deviation is then known to 5 %,
# and utterances of nobody known, of which there may be tens of thousands, take no longer than 200 speakers.
GROUPS = 200


@dataclass(frozen=True, eq=False)
class SeedItems:
    """What was tested of a head of one seed, of whatever fold."""

    seed: int
    items: Items


@dataclass(frozen=True, eq=False)
class Jackknife:
    """A metric of each head with all its items, and without those of each cluster (or group of clusters) in turn.

    whole: (H,). values: (H, G), NaN where the metric is undefined. shares: (H, G) share of a head's items that depend
    on what is left out. seeds: (H,) of the heads.
    """

    whole: FloatArray
    values: FloatArray
    shares: FloatArray
    seeds: NDArray[np.int64]

    @property
    def is_defined(self) -> bool:
        """True if there are two clusters or more and the score is defined without each of them."""
        return self.values.shape[1] > 1 and bool(np.isfinite(self.without).all())

    @cached_property
    def without(self) -> FloatArray:
        """The score, a mean over heads, without each cluster, (G,)."""
        return self._mean(np.full(len(self.seeds), True))

    @cached_property
    def of_seeds(self) -> FloatArray:
        """The score of each seed, (S,)."""
        return np.array([self.whole[self.seeds == seed].mean() for seed in np.unique(self.seeds)])

    @cached_property
    def of_seeds_without(self) -> FloatArray:
        """The score of each seed without each cluster, (S, G)."""
        return np.stack([self._mean(self.seeds == seed) for seed in np.unique(self.seeds)])

    def _mean(self, heads: NDArray[np.bool_]) -> FloatArray:
        """Return the mean over some heads without each cluster, (G,).

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
        sizes = self.shares.mean(axis=0)
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
        )
        for number, metric in enumerate(metrics)
    }


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
    """Return every metric without each group, (M, G), and the share of the items that depend on it, (G,)."""
    own = np.array([(groups[clusters[0]], groups[clusters[-1]]) for clusters in items.clusters])
    number = max(groups.values()) + 1
    values = np.tile(np.array([[items.value(metric)] for metric in metrics]), number)
    shares = np.zeros(number)
    for group in np.unique(own):
        kept = (own != group).all(axis=1)
        shares[group] = 1.0 - kept.mean()
        weights = kept.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            values[:, group] = [items.value(metric, weights) if kept.any() else np.nan for metric in metrics]
    return values, shares
