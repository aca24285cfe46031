"""Error rates against scikit-learn's curves, SUPERB's own function and cases worked by hand."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics as reference

from downstream.tasks.verification.error_rates import detection_curve, equal_error_rate, min_dcf, trial_intervals
from upstream.errors import UserError


def drawn(seed: int, ties: bool, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping scores of targets and non-targets; with `ties` in steps of 0.2 or so."""
    generator = np.random.default_rng(seed)
    target = generator.random(count) < generator.uniform(0.1, 0.9)
    scores = generator.normal(target * generator.uniform(0.0, 3.0), 1.0)
    return (np.round(scores * 5) / 5 if ties else scores), target


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_curve_equals_scikit_learn(seed: int, ties: bool) -> None:
    scores, target = drawn(seed, ties)
    false_alarm, miss, thresholds = detection_curve(scores, target)
    expected = reference.roc_curve(target, scores, drop_intermediate=False)
    for ours, theirs in zip((false_alarm, 1 - miss, thresholds), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_equal_error_rate_equals_that_of_superb(seed: int, ties: bool) -> None:
    """The root of 1 - x - tpr(x), on the curve without its collinear points."""
    scores, target = drawn(seed, ties)
    false_alarm, hits, _ = reference.roc_curve(target, scores)
    curve = interp1d(false_alarm, hits)
    expected = brentq(lambda x: 1.0 - x - curve(x), 0.0, 1.0)
    assert equal_error_rate(scores, target)[0] == pytest.approx(expected, abs=1e-6)


def test_equal_error_rate_equals_that_of_s3prl() -> None:
    theirs = pytest.importorskip("s3prl.downstream.sv_voxceleb1.utils")
    for ties in (False, True):
        scores, target = drawn(11, ties)
        assert equal_error_rate(scores, target)[0] == pytest.approx(theirs.EER(target, scores)[0], abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "target", "rate", "threshold"),
    [
        # Accepting 4 and 3 misses one of two targets and accepts one of two others.
        ([4, 3, 2, 1], [1, 0, 1, 0], 0.5, 3.0),
        # 3 accepted: misses 1/2, false alarms 0; both 2s accepted: 0 and 1/3. Equal at 3/5 of the way: 1/5.
        ([3, 2, 2, 1, 0], [1, 1, 0, 0, 0], 0.2, 2.4),
        # 4 accepted: misses 1/3, false alarms 0; 3 too: 1/3 and 1/2. Only false alarms change, equal at 2/3 of the way.
        ([5, 4, 3, 2, 1], [1, 1, 0, 0, 1], 1 / 3, 4 - 2 / 3),
        # 4 accepted: misses 2/3, false alarms 1/2; 3 too: 1/3 and 1/2. Only misses change, equal half-way.
        ([5, 4, 3, 2, 1], [1, 0, 1, 1, 0], 0.5, 3.5),
        ([2, 2, 1, 1], [1, 1, 0, 0], 0.0, 2.0),  # perfect
        ([2, 2, 1, 1], [0, 0, 1, 1], 1.0, 2.0),  # perfectly wrong
        ([7, 7, 7], [1, 0, 0], 0.5, 7.0),  # all alike, whatever their number
    ],
)
def test_equal_error_rate_by_hand(scores: list[int], target: list[int], rate: float, threshold: float) -> None:
    assert equal_error_rate(scores, target) == pytest.approx((rate, threshold))


def test_curve_by_hand() -> None:
    """Two trials of score 2, a target and another, are accepted together."""
    false_alarm, miss, thresholds = detection_curve([2, 1, 2, 0], [1, 1, 0, 0])
    assert thresholds.tolist() == [np.inf, 2, 1, 0]
    assert false_alarm.tolist() == [0, 0.5, 0.5, 1]
    assert miss.tolist() == [1, 0.5, 0, 0]


def test_only_the_order_of_scores_matters() -> None:
    scores, target = drawn(3, ties=True)
    rate = equal_error_rate(scores, target)[0]
    for transformed in (np.exp(scores), 5 * scores - 3, np.arctan(scores)):
        assert equal_error_rate(transformed, target)[0] == pytest.approx(rate, abs=1e-12)
    shuffled = np.random.default_rng(0).permutation(len(scores))
    assert equal_error_rate(scores[shuffled], target[shuffled])[0] == rate


def test_least_cost_by_hand() -> None:
    """Targets 3 and 1, others 2 and 0; thresholds inf, 3, 2, 1, 0: misses 1 ½ ½ 0 0, false alarms 0 0 ½ ½ 1."""
    scores, target = [3, 2, 1, 0], [1, 0, 1, 0]
    assert min_dcf(scores, target, 0.5) == pytest.approx((0.5, 3.0))
    # 0.1 · 0.5 at threshold 3 is 0.05; over min(0.1, 0.9).
    assert min_dcf(scores, target, 0.1) == pytest.approx((0.5, 3.0))
    # 0.9 · 0.5 = 0.45 at 3, 0.1 · 0.5 = 0.05 at 1; over 0.1.
    assert min_dcf(scores, target, 0.9) == pytest.approx((0.5, 1.0))
    # Costs 10 and 1 at even odds: 2.5 at 3, 0.25 at 1; over 0.5.
    assert min_dcf(scores, target, 0.5, c_miss=10.0) == pytest.approx((0.5, 1.0))


def test_least_cost_at_the_ends() -> None:
    """Where scores are the wrong way round, nothing beats accepting none or all, whichever the odds favour."""
    assert min_dcf([1, 2], [1, 0], 0.01) == (1.0, np.inf)
    assert min_dcf([1, 2], [1, 0], 0.99) == pytest.approx((1.0, 1.0))
    assert min_dcf([2, 1], [1, 0], 0.01) == (0.0, 2.0)


@pytest.mark.parametrize("seed", range(5))
def test_least_cost_is_the_least_of_all_thresholds(seed: int) -> None:
    scores, target = drawn(seed, ties=True)
    costs = []
    for threshold in [*np.unique(scores), np.inf]:
        accepted = scores >= threshold
        costs.append(0.05 * np.mean(~accepted[target]) + 0.95 * np.mean(accepted[~target]))
    cost, threshold = min_dcf(scores, target, 0.05)
    assert cost == pytest.approx(min(costs) / 0.05)
    assert threshold in scores or threshold == np.inf


def test_weights_count_trials() -> None:
    scores, target = drawn(5, ties=True)
    assert equal_error_rate(scores, target, np.ones(len(scores))) == equal_error_rate(scores, target)
    times = np.random.default_rng(1).integers(0, 4, len(scores))
    repeated = equal_error_rate(np.repeat(scores, times), np.repeat(target, times))
    assert equal_error_rate(scores, target, times)[0] == pytest.approx(repeated[0], abs=1e-12)


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(UserError, match="1 of 2 trial scores are not finite"):
        equal_error_rate([0.0, np.nan], [1, 0])
    with pytest.raises(UserError, match="2 of the 2 trials are targets"):
        detection_curve([0.0, 1.0], [1, 1])
    with pytest.raises(UserError, match="0 of the 2 trials"):
        min_dcf([0.0, 1.0], [0, 0], 0.01)
    with pytest.raises(ValueError, match="expected \\(N,\\)"):
        equal_error_rate([0.0, 1.0], [1])


# ------------------------------------------------------------ the interval


def trials_of(num_speakers: int, each: int, seed: int, spread: float) -> dict[str, np.ndarray]:
    """`each` targets of every speaker, and as many trials against others, every speaker with a shift of their own."""
    generator = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(num_speakers), each)
    others = (speakers + generator.integers(1, num_speakers, len(speakers))) % num_speakers
    shift = generator.normal(0.0, spread, num_speakers)
    same = generator.normal(2.0, 1.0, len(speakers)) + shift[speakers]
    different = generator.normal(0.0, 1.0, len(speakers))
    return {
        "scores": np.append(same, different),
        "target": np.repeat([True, False], len(speakers)),
        "enrolment_speakers": np.append(speakers, speakers),
        "test_speakers": np.append(speakers, others),
    }


def interval_of(value: float, seed: int, metric: str = "eer", **given: Any) -> tuple[float, float] | None:
    """The interval of one metric; given: trials, and how many draws."""
    return trial_intervals(values={metric: value}, seed=seed, **given)[metric]


@pytest.mark.parametrize("metric", ["eer", "min_dcf_0.01", "min_dcf_0.05"])
def test_interval_by_the_long_way_round(metric: str) -> None:
    """Trials written out as often as they count give the same quantiles."""

    def measured(scores: np.ndarray, target: np.ndarray) -> float:
        if metric == "eer":
            return equal_error_rate(scores, target)[0]
        return min_dcf(scores, target, float(metric.removeprefix("min_dcf_")))[0]

    trials = trials_of(6, 8, seed=0, spread=1.0)
    value = measured(trials["scores"], trials["target"])
    found = []
    for times in np.random.default_rng(4).multinomial(6, np.full(6, 1 / 6), size=50):
        one, other = trials["enrolment_speakers"], trials["test_speakers"]
        count = np.where(one == other, times[one], times[one] * times[other])
        scores, target = np.repeat(trials["scores"], count), np.repeat(trials["target"], count)
        if 0 < target.sum() < len(target):
            found.append(measured(scores, target))
    expected = np.quantile(np.array(found) - value, [0.025, 0.975]) + 0.3
    assert expected[0] < expected[1]
    within = (max(0.0, expected[0]), min(1.0, expected[1]))
    assert interval_of(0.3, 4, metric, **trials, draws=50) == pytest.approx(within, abs=1e-9)


def test_metrics_that_are_asked_for_together_share_their_draws() -> None:
    trials = trials_of(8, 10, seed=1, spread=1.0)
    values = {"eer": 0.2, "min_dcf_0.01": 0.9, "min_dcf_0.05": 0.6}
    together = trial_intervals(**trials, values=values, seed=3, draws=200)
    assert list(together) == list(values)
    for metric, value in values.items():
        assert together[metric] == interval_of(value, 3, metric, **trials, draws=200)
        assert together[metric][0] < together[metric][1]


def test_the_interval_follows_its_seed_and_speakers_not_their_names_or_the_order_of_trials() -> None:
    trials = trials_of(8, 10, seed=1, spread=1.0)
    value = equal_error_rate(trials["scores"], trials["target"])[0]
    interval = interval_of(value, 0, **trials)
    assert interval is not None
    assert 0 <= interval[0] < value < interval[1] <= 1
    assert interval_of(value, 1, **trials) != interval
    shuffled = np.random.default_rng(2).permutation(len(trials["scores"]))
    names = np.array([f"id{number}" for number in range(8)])
    named = trials | {side: names[trials[side]] for side in ("enrolment_speakers", "test_speakers")}
    again = interval_of(value, 0, **{name: column[shuffled] for name, column in named.items()})
    assert again == pytest.approx(interval, abs=1e-12)


def test_the_interval_grows_when_speakers_differ() -> None:
    widths = []
    for spread in (0.0, 2.0):
        low, high = interval_of(0.5, 0, **trials_of(20, 30, seed=0, spread=spread))
        widths.append(high - low)
    assert widths[1] > 1.5 * widths[0]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """30 speakers who differ; the truth is the rate of a thousand of them. 100 intervals of 95 % are drawn."""
    large = trials_of(1000, 40, seed=1000, spread=0.7)
    truth = equal_error_rate(large["scores"], large["target"])[0]
    covered = 0
    for seed in range(100):
        trials = trials_of(30, 20, seed, spread=0.7)
        value = equal_error_rate(trials["scores"], trials["target"])[0]
        low, high = interval_of(value, seed, **trials, draws=200)
        covered += low <= truth <= high
    assert 85 <= covered <= 99


def test_two_speakers_give_no_interval_and_three_do_though_some_draws_have_no_non_target() -> None:
    assert trial_intervals([2, 1], [1, 0], ["a", "a"], ["a", "b"], {"eer": 0.0}, seed=0) == {"eer": None}
    scores, one, other = [3, 1, 2, 0], ["a", "a", "b", "b"], ["a", "b", "b", "c"]
    low, high = trial_intervals(scores, [1, 0, 1, 0], one, other, {"eer": 0.0}, seed=0)["eer"]
    assert (low, high) == (0.0, 0.0)  # no draw can mix up what is wholly apart


def test_a_thousand_draws_of_voxcelebs_list_take_seconds() -> None:
    """37,720 trials of 40 speakers, as many as VoxCeleb1's; 100 draws here."""
    trials = trials_of(40, 37_720 // 80, seed=0, spread=1.0)
    began = time.perf_counter()
    assert interval_of(0.2, 0, **trials, draws=100) is not None
    assert time.perf_counter() - began < 5.0
