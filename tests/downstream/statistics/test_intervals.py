"""Intervals worked by hand, against other formulas of the same, and where there is nothing to compute them from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from downstream.statistics import NO_SPEECH, NOBODY, CountedItems, Interval, Range, SeedItems, score_intervals
from downstream.statistics.jackknife import GROUPS, Jackknife, groups_of, jackknives
from downstream.statistics.spread import OfSeeds, Spread, spread_of

SHARE = Range(0.0, 1.0)
ONE_SEED = "not in it: training data, other seeds"


def right_or_wrong(right: Sequence[int], sizes: Sequence[int], names: Sequence[str] | None = None) -> CountedItems:
    """Utterances of speakers, `right` of the `sizes` of each classified correctly."""
    clusters = np.repeat(names or [f"s{number}" for number in range(len(sizes))], sizes).tolist()
    hits = np.concatenate([np.arange(size) < own for own, size in zip(right, sizes, strict=True)])
    return CountedItems(
        ids=tuple(f"u{number}" for number in range(len(clusters))),
        truths=("",) * len(clusters),
        answers=None,
        clusters=tuple((cluster,) for cluster in clusters),
        counts=np.stack([hits, np.ones_like(hits)], axis=1).astype(np.int64),
        of_counts={"accuracy": lambda counts: float(counts[0] / counts[1])},
    )


def interval(*heads: CountedItems, folds: bool = False) -> Interval:
    """The interval of heads of so many seeds, or of so many folds and one seed."""
    tested = [SeedItems(0 if folds else number, own) for number, own in enumerate(heads)]
    value = float(np.mean([own.value("accuracy") for own in heads]))
    return score_intervals(tested, {"accuracy": value}, {"accuracy": SHARE})["accuracy"]


def variance(head: CountedItems) -> float:
    without = jackknives([SeedItems(0, head)], ["accuracy"])["accuracy"].without
    return float((len(without) - 1) * without.var())


# ---------------------------------------------------------------- over speakers


def test_an_interval_of_equal_speakers_is_wilsons_with_the_variance_of_their_means() -> None:
    """Of equal speakers the jackknife's variance is that of a mean of so many numbers."""
    right = [50, 40, 35, 55]
    deviation = np.std(np.array(right) / 60, ddof=1) / 2
    assert variance(right_or_wrong(right, [60] * 4)) == pytest.approx(deviation**2)
    found, value = interval(right_or_wrong(right, [60] * 4)), 180 / 240
    t = stats.t.ppf(0.975, 3)
    for end in (found.low, found.high):
        # The deviation that the score would have there, by the one that it has here, is t times too small.
        there = deviation * math.sqrt(end * (1 - end) / (value * (1 - value)))
        assert abs(end - value) == pytest.approx(t * there)
    assert found.low < value < found.high
    assert found.how == f"95 %, t over 4 test speakers (jackknife); {ONE_SEED}"


def test_utterances_of_nobody_have_wilsons_interval_but_for_t() -> None:
    names = [f"{NOBODY}{n}" for n in range(100)]
    found = interval(right_or_wrong([1] * 80 + [0] * 20, [1] * 100, names))
    wilson = stats.binomtest(80, 100).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=2e-3)
    assert found.how.startswith("95 %, t over 100 test utterances (jackknife)")


def test_the_jackknife_is_the_cluster_robust_variance_of_a_ratio_when_there_are_many_speakers() -> None:
    """The linearised (sandwich) variance of a ratio: the sum of squared residuals of clusters."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(5, 50, 150)
    right = generator.binomial(sizes, generator.beta(6, 4, 150))
    residuals = right - right.sum() / sizes.sum() * sizes
    sandwich = (residuals**2).sum() / sizes.sum() ** 2 * 150 / 149
    assert variance(right_or_wrong(right.tolist(), sizes.tolist())) == pytest.approx(sandwich, rel=0.02)


def test_speakers_that_are_all_right_or_all_wrong_count_as_one_utterance_each() -> None:
    clustered = interval(right_or_wrong([50, 0] * 5, [50] * 10))
    coins = interval(right_or_wrong([1, 0] * 5, [1] * 10))
    assert (clustered.low, clustered.high) == pytest.approx((coins.low, coins.high))
    assert clustered.high - clustered.low > 0.5


def test_a_speaker_with_most_utterances_leaves_few_degrees_of_freedom() -> None:
    def degrees(sizes: Sequence[int]) -> float:
        head = right_or_wrong([size // 2 for size in sizes], sizes)
        return jackknives([SeedItems(0, head)], ["accuracy"])["accuracy"].degrees_of_freedom

    assert degrees([10] * 6) == pytest.approx(5)
    assert degrees([30, 10, 10, 10]) == pytest.approx(60**2 / (900 + 300) - 1)
    assert degrees([1000, 1, 1]) == 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_where_all_is_right_or_all_wrong_the_interval_is_that_of_independent_utterances(value: float) -> None:
    """With t for z: t² / (n + t²) from the end."""
    found = interval(right_or_wrong([int(60 * value)] * 4, [60] * 4))
    away = stats.t.ppf(0.975, 3) ** 2
    away /= 240 + away
    assert (found.low, found.high) == pytest.approx((1 - away, 1) if value else (0, away))


def test_ends_lie_within_the_range_whatever_it_is() -> None:
    for possible, value in ((SHARE, 0.98), (Range(-1, 1), -0.9), (Range(0, math.inf), 0.1), (Range(-math.inf, 3), 2.9)):
        low, high = possible.ends(value, 2.0)
        assert possible.lowest <= low < value < high <= possible.highest
        for end in (low, high):
            assert (end - value) ** 2 == pytest.approx(2.0 * possible.variance_at(end))
    assert Range(-math.inf, math.inf).ends(5.0, 4.0) == (3.0, 7.0)


# ---------------------------------------------------------------- folds


def test_folds_of_one_size_are_one_test_set_of_all_speakers() -> None:
    together = interval(right_or_wrong([50, 40, 35, 55], [60] * 4))
    first = right_or_wrong([50, 40], [60, 60], ["s0", "s1"])
    second = right_or_wrong([35, 55], [60, 60], ["s2", "s3"])
    apart = interval(first, second, folds=True)
    assert (apart.low, apart.high) == pytest.approx((together.low, together.high))
    assert apart.how == together.how


def test_a_fold_of_one_speaker_is_left_out_with_the_speaker() -> None:
    alone = [right_or_wrong([right], [60], [f"s{n}"]) for n, right in enumerate((50, 40, 35, 55))]
    together = interval(right_or_wrong([50, 40, 35, 55], [60] * 4))
    apart = interval(*alone, folds=True)
    assert (apart.low, apart.high) == pytest.approx((together.low, together.high))


# ---------------------------------------------------------------- seeds


def test_seeds_that_differ_widen_the_interval_and_equal_ones_do_not() -> None:
    first = right_or_wrong([50, 40, 35, 55], [60] * 4)
    alone, twice = interval(first), interval(first, first)
    assert (twice.low, twice.high) == (alone.low, alone.high)
    assert (
        twice.how
        == "95 %, t over 4 test speakers, or over 2 seeds where that is wider (jackknife); not in it: training data"
    )
    worse = right_or_wrong([40, 30, 25, 45], [60] * 4)
    differing = interval(first, worse)
    assert differing.high - differing.low > 2 * (alone.high - alone.low)


def test_the_variances_of_seeds_and_speakers_are_those_of_a_two_way_analysis() -> None:
    """By hand, of (seed, speaker) means; the interaction is in both, and counts once."""
    right = np.array([[50, 40, 35, 55], [46, 42, 30, 50], [52, 36, 39, 53]])
    heads = [SeedItems(seed, right_or_wrong(own.tolist(), [60] * 4)) for seed, own in enumerate(right)]
    means = right / 60
    interaction = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    mean_square = (interaction**2).sum() / (2 * 3)
    spread = spread_of(jackknives(heads, ["accuracy"])["accuracy"])
    of_speakers, of_seeds, of_both = (
        means.mean(axis=0).var(ddof=1) / 4,
        means.mean(axis=1).var(ddof=1) / 3,
        mean_square / 12,
    )
    assert spread.variance == pytest.approx(of_speakers + of_seeds - of_both)
    assert spread.seeds == (OfSeeds(pytest.approx(of_seeds - of_both / 2), 2),)


def test_seeds_that_agree_by_chance_leave_the_interval_of_speakers() -> None:
    """Two seeds of one score, each better with the half of the speakers that the other is worse with."""
    first, second = right_or_wrong([50, 30, 50, 30], [60] * 4), right_or_wrong([34, 54, 38, 50], [60] * 4)
    spread = spread_of(jackknives([SeedItems(0, first), SeedItems(1, second)], ["accuracy"])["accuracy"])
    assert spread.seeds == (OfSeeds(0.0, 1),)
    assert spread.reach(0.975) == pytest.approx(stats.t.ppf(0.975, 3) * math.sqrt(spread.variance))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_that_differ_more_than_speakers_do_are_held(seeds: int) -> None:
    """Of 1,000 drawn; a single quantile for both variances holds 88 % of two seeds."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        values = 0.03 * generator.standard_normal((seeds, 1)) + 0.06 * generator.standard_normal(24)
        values = values + 0.025 * generator.standard_normal((seeds, 24))
        without = (values.sum(axis=1, keepdims=True) - values) / 23
        own = Jackknife(values.mean(axis=1), without, np.full_like(values, 1 / 24), np.arange(seeds))
        held += abs(values.mean()) <= spread_of(own).reach(0.975)
    assert 930 <= held <= 970


def test_p_is_the_level_at_which_an_interval_reaches_the_deviation() -> None:
    spread = Spread(0.02**2, 9.0, (OfSeeds(0.01**2, 2.0), OfSeeds(0.005**2, 1.0)))
    for size in (1e-6, 0.01, 0.05, 0.5):
        assert spread.reach(1 - spread.p(-size) / 2) == pytest.approx(size)
    assert spread.p(spread.reach(0.975)) == pytest.approx(0.05)
    assert Spread(0.02**2, 9.0).p(0.03) == pytest.approx(2 * stats.t.sf(1.5, 9))
    assert 0 < Spread(1e-20, 9.0, (OfSeeds(1e-20, 200.0),)).p(1.0) < 1e-14


def test_three_seeds_of_verification_have_no_interval_that_leaves_one_of_them_out() -> None:
    """25.7, 33.6 and 27.1 % of 40 equal speakers."""
    heads = [right_or_wrong([round(10 * rate)] * 40, [1000] * 40) for rate in (25.7, 33.6, 27.1)]
    found = interval(*heads)
    assert found.low < 0.257
    assert found.high > 0.336


# ---------------------------------------------------------------- none, and what is said


def test_one_speaker_gives_no_interval() -> None:
    assert interval(right_or_wrong([6], [10])) == Interval(None, None, "none: 1 test speaker, and it takes two or more")


def test_a_metric_that_is_undefined_without_a_speaker_has_no_interval() -> None:
    of_one = right_or_wrong([3, 0, 4], [5, 5, 5])
    counts = of_one.counts * np.repeat([0, 0, 1], 5)[:, None]  # all that counts is one speaker's
    items = CountedItems(of_one.ids, of_one.truths, None, of_one.clusters, counts, of_one.of_counts)
    found = score_intervals([SeedItems(0, items)], {"accuracy": 0.8}, {"accuracy": SHARE})["accuracy"]
    assert found == Interval(None, None, "none: the metric is undefined without some of 3 test speakers")


def test_an_interval_says_what_it_is_over() -> None:
    names = ["ann", "bob", f"{NOBODY}a.wav", f"{NO_SPEECH}_background_noise_/0@1"]
    found = interval(right_or_wrong([3, 2, 1, 0], [4, 4, 1, 1], names))
    assert found.how.startswith("95 %, t over 2 test speakers, 1 test utterance, 1 test noise (jackknife)")


def test_an_interval_depends_on_neither_names_nor_order() -> None:
    found = interval(right_or_wrong([50, 40, 35, 55], [60, 70, 80, 90]))
    other = interval(right_or_wrong([55, 35, 40, 50], [90, 80, 70, 60], ["d", "a", "c", "b"]))
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=1e-12)


def test_many_clusters_are_left_out_in_groups_of_the_same_deviation() -> None:
    names = [f"{NOBODY}{number}" for number in range(3 * GROUPS + 7)]
    groups = groups_of(names)
    sizes = np.bincount(list(groups.values()))
    assert (len(sizes), sizes.min(), sizes.max()) == (GROUPS, 3, 4)
    assert groups_of(reversed(names)) == groups
    right = (np.random.default_rng(0).random(len(names)) < 0.7).astype(int)
    found = interval(right_or_wrong(right.tolist(), [1] * len(names), names))
    wilson = stats.binomtest(int(right.sum()), len(names)).proportion_ci(0.95, method="wilson")
    assert found.high - found.low == pytest.approx(wilson.high - wilson.low, rel=0.15)


def test_a_jackknife_of_one_cluster_is_not_defined() -> None:
    one = Jackknife(np.array([0.5]), np.array([[0.5]]), np.array([[1.0]]), np.array([0]))
    assert not one.is_defined
