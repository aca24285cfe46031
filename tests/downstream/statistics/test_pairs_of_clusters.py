"""What two speakers have in common counts once, though their trials are left out with either of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from downstream.statistics import CountedItems, FloatArray, SeedItems, clusters_variance, jackknives

SPEAKERS = 12
PAIRS = list(combinations(range(SPEAKERS), 2))


def trials(values: FloatArray) -> CountedItems:
    """One trial between any two speakers, of a metric that is the mean of their values, in millionths."""
    names = tuple(f"{one} {other}" for one, other in PAIRS)
    return CountedItems(
        ids=names,
        truths=("",) * len(names),
        answers=None,
        clusters=tuple((f"s{one}", f"s{other}") for one, other in PAIRS),
        counts=np.stack([np.round(1e6 * values), np.ones(len(values))], axis=1).astype(np.int64),
        of_counts={"mean": lambda counts: float(counts[0] / counts[1] / 1e6)},
    )


def estimated_and_true(of_speakers: float, of_pairs: float) -> tuple[float, float]:
    """Return the mean of the estimated variances of 300 test sets, and the variance of their scores."""
    generator = np.random.default_rng(0)
    scores, variances = [], []
    for _ in range(300):
        own = of_speakers * generator.standard_normal(SPEAKERS)
        values = own[np.array(PAIRS)].sum(axis=1) + of_pairs * generator.standard_normal(len(PAIRS))
        found = jackknives_of(trials(values))
        scores.append(found[0])
        variances.append(found[1])
    return float(np.mean(variances)), float(np.var(scores))


def jackknives_of(items: CountedItems) -> tuple[float, float]:
    found = jackknives([SeedItems(0, items)], ["mean"])["mean"]
    return float(found.whole[0]), clusters_variance(found.without, found.pairs)


def test_the_variance_is_that_of_scores_whether_speakers_or_pairs_vary() -> None:
    """Without subtracting what pairs have in common, the second would be twice as large as it is."""
    for of_speakers, of_pairs in ((1.0, 0.0), (0.0, 1.0), (0.3, 1.0)):
        estimated, true = estimated_and_true(of_speakers, of_pairs)
        assert 0.85 < estimated / true < 1.4


def test_more_than_half_is_never_subtracted() -> None:
    without = np.array([1.0, 2.0, 3.0, 0.0, 9.0, 0.0])
    assert clusters_variance(without, pairs=3) == clusters_variance(without[:3]) / 2
    assert clusters_variance(without[:3]) == 2 / 3 * 2
