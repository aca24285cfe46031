"""Paired differences are the textbook's where there is one, hold with few speakers, and know seeds and chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.simulated_systems import Setting, systems
from scipy import stats

from downstream.comparison.difference import (
    Difference,
    HeadOfFold,
    between,
    difference_of,
    is_over_single_items,
    is_share_of_right,
)
from downstream.comparison.exact_tests import holm, mcnemar
from downstream.statistics import Jackknife, Spread
from downstream.tasks.classification.items import ClassifiedItems


def answered(right: Sequence[bool], speakers: Sequence[str], fold: str = "fold1", seed: int = 0) -> HeadOfFold:
    """Return a head whose answers are right or wrong."""
    ids = tuple(f"{fold}-{number}" for number in range(len(right)))
    answers = tuple("a" if one else "b" for one in right)
    clusters = tuple((speaker,) for speaker in speakers)
    return HeadOfFold(seed, ClassifiedItems(ids, ("a",) * len(ids), answers, clusters, ["a", "b"]), fold)


def test_of_equal_speakers_it_is_the_paired_t_test() -> None:
    generator = np.random.default_rng(0)
    speakers = np.repeat([f"s{number}" for number in range(6)], 50)
    one, other = generator.random((2, 300)) < [[0.7], [0.6]]
    found = difference_of([answered(one, speakers)], [answered(other, speakers)], "accuracy")
    expected = stats.ttest_rel(one.reshape(6, 50).mean(axis=1), other.reshape(6, 50).mean(axis=1))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_the_smallest_shown_has_a_power_of_80_percent() -> None:
    found = Difference(0.0, Spread(0.01**2, 30.0))
    means = found.smallest + 0.01 * np.random.default_rng(0).standard_normal(20_000)
    errors = 0.01 * np.sqrt(np.random.default_rng(1).chisquare(30, 20_000) / 30)
    shown = np.abs(means / errors) > stats.t.ppf(0.975, 30)
    assert shown.mean() == pytest.approx(0.8, abs=0.02)


def test_equal_answers_are_no_difference_and_equal_speakers_no_certainty() -> None:
    """Four speakers who all differ by one item are no proof: without a spread over speakers, items count."""
    speakers = np.repeat(["a", "b", "c", "d"], 8)
    all_right = np.ones(32, dtype=bool)
    one_wrong = np.tile([True] * 7 + [False], 4)
    same = difference_of([answered(one_wrong, speakers)], [answered(one_wrong, speakers)], "accuracy")
    assert (same.value, same.p) == (0.0, 1.0)
    assert all(map(math.isnan, (*same.interval, same.smallest)))  # it is not known to be nothing
    found = difference_of([answered(all_right, speakers)], [answered(one_wrong, speakers)], "accuracy")
    assert found.value == pytest.approx(1 / 8)
    assert 0.05 < found.p < 0.5


@pytest.mark.parametrize(("items", "is_shown"), [(16, True), (1, False)], ids=("many items", "one item each"))
def test_all_right_against_all_wrong(items: int, is_shown: bool) -> None:
    """Nothing varies, neither over speakers nor over items."""
    speakers = np.repeat(["a", "b"], items)
    sides = ([answered([right] * 2 * items, speakers)] for right in (True, False))
    found = difference_of(*sides, "accuracy")
    assert found.value == 1.0
    assert (found.p < 0.05) == is_shown


def test_one_speaker_tells_nothing() -> None:
    for right in ([True, True], [True, False]):
        found = difference_of([answered([True, False], "xx")], [answered(right, "xx")], "accuracy")
        assert all(map(math.isnan, (found.p, *found.interval, found.smallest)))


def test_a_second_seed_of_the_same_items_is_no_second_test_set() -> None:
    generator = np.random.default_rng(0)
    speakers = np.repeat([f"s{number}" for number in range(10)], 40)
    one, other = generator.random((2, 400)) < [[0.7], [0.65]]
    single = difference_of([answered(one, speakers)], [answered(other, speakers)], "accuracy")
    twice = difference_of(
        [answered(one, speakers, seed=seed) for seed in (0, 1)],
        [answered(other, speakers, seed=seed) for seed in (0, 1, 2)],
        "accuracy",
    )
    assert twice.value == pytest.approx(single.value)
    assert twice.spread.variance == pytest.approx(single.spread.variance)


def test_seeds_that_differ_widen_it_on_either_side() -> None:
    speakers = np.repeat([f"s{number}" for number in range(10)], 40)
    generator = np.random.default_rng(0)
    seeds = [answered(generator.random(400) < rate, speakers, seed=seed) for seed, rate in enumerate((0.5, 0.7, 0.9))]
    alone = [answered(generator.random(400) < 0.7, speakers)]
    spread = np.var([head.items.value("accuracy") for head in seeds], ddof=1)
    lent = difference_of(seeds, alone, "accuracy")
    assert of_seeds(lent) == [pytest.approx((spread * (1 / 3 + 1), 2), rel=1e-6)]  # one varies as one of the three
    assert difference_of(alone, seeds, "accuracy").spread.variance == pytest.approx(lent.spread.variance)
    assert of_seeds(difference_of(seeds, seeds, "accuracy")) == [pytest.approx((spread / 3, 2))] * 2


def of_seeds(found: Difference) -> list[tuple[float, float]]:
    """Variance and degrees of freedom of each side's seeds."""
    return [(part.variance, part.degrees_of_freedom) for part in found.spread.seeds]


@pytest.mark.parametrize("seeds", [(2, 2), (2, 1), (3, 1), (10, 2)], ids=str)
def test_seeds_that_differ_more_than_speakers_do_show_nothing_by_themselves(seeds: tuple[int, int]) -> None:
    """p < 0.05 in 5 % at most; where the variance of two seeds is subtracted from, in 8 to 17 %.

    With one quantile for ten seeds and two, in 10 %.
    """
    generator = np.random.default_rng(0)

    def side(number: int) -> Jackknife:
        values = 0.05 * generator.standard_normal((number, 1)) + 0.06 * generator.standard_normal((number, 24))
        without = (values.sum(axis=1, keepdims=True) - values) / 23
        return Jackknife(values.mean(axis=1), without, np.full_like(values, 1 / 24), np.arange(number))

    found = [between(*map(side, seeds)).p for _ in range(500)]
    assert np.mean(np.array(found) < 0.05) < 0.07


def test_mcnemar_is_the_sign_test_of_items_that_differ() -> None:
    one = [answered([True] * 12 + [False] * 8, "x" * 20), answered([True], "y", "fold2")]
    other = [answered([True] * 4 + [False] * 14 + [True] * 2, "x" * 20), answered([False], "y", "fold2")]
    found = mcnemar(one, other)
    assert (found.only_one, found.only_other) == (9, 2)
    assert found.p == pytest.approx(stats.binomtest(9, 11).pvalue)
    assert mcnemar(one, one).p == 1.0


def test_items_are_independent_where_no_two_share_a_speaker() -> None:
    assert is_over_single_items([answered([True] * 3, "xyz"), answered([True] * 3, "xyz", seed=1)])
    assert not is_over_single_items([answered([True] * 3, "xyx")])
    assert not is_over_single_items([answered([True] * 2, "xy"), answered([True] * 2, "xy", fold="fold2")])


def test_an_accuracy_is_recognised_by_trying() -> None:
    head = answered([True, False, True, True], "wxyz")
    assert is_share_of_right(head, "accuracy")
    assert not is_share_of_right(head, "macro_f1")


def test_holm_is_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.6, math.nan, 0.7])
    assert found[::2] == [1.0, 1.0]
    assert math.isnan(found[1])


@pytest.mark.parametrize(
    ("setting", "effect"),
    [
        (Setting("accuracy", 0.6, speakers=4, spread=0.05), 0.3),
        (Setting("accuracy", 0.9, speakers=5, unequal=True), 0.15),
        (Setting("wer", 0.2, speakers=5, unequal=True, spread=0.05), 0.2),
        (Setting("eer", 0.2, speakers=6), 0.3),
        (Setting("accuracy", 0.6, speakers=5, spread=0.05, seeds=(3, 1), between_seeds=0.02), 0.3),
    ],
    ids=("accuracy", "high accuracy", "word errors", "trials", "seeds"),
)
def test_with_few_speakers_little_is_found_where_nothing_is(setting: Setting, effect: float) -> None:
    """p < 0.05 in about 5 % of 200 null comparisons (docs/comparing.md has 2,000 of many more), and with an effect."""
    generator = np.random.default_rng(0)
    found = [difference_of(*systems(setting, generator), setting.metric).p for _ in range(200)]
    assert np.mean(np.array(found) < 0.05) < 0.1
    shown = [difference_of(*systems(replace(setting, effect=effect), generator), setting.metric).p for _ in range(50)]
    assert np.mean(np.array(shown) < 0.05) > 0.5


def test_mcnemar_finds_too_much_where_systems_differ_by_speaker() -> None:
    generator = np.random.default_rng(0)
    setting = Setting("accuracy", 0.6, speakers=10, spread=0.1)
    found = [mcnemar(*systems(setting, generator)).p for _ in range(200)]
    assert np.mean(np.array(found) < 0.05) > 0.15
