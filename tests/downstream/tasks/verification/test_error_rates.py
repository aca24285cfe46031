"""Error rates against scikit-learn's curves, SUPERB's own function and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics as reference

from downstream.tasks.verification.error_rates import detection_curve, equal_error_rate, min_dcf
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
