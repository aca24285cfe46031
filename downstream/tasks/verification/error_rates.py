"""Error rates of verification: detection curve, equal error rate and detection cost.

A trial is accepted if its score is the threshold or higher, so trials of equal score are accepted or rejected
together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from downstream.tasks.verification.metrics import COSTS
from upstream.errors import UserError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """Trials sorted by falling score, from which error rates are computed.

    order: (N,) trials by falling score; target: (N,) in that order.
    last: (K - 1,) position of the last trial of each distinct score; thresholds: (K,) infinity and those scores.
    """

    order: NDArray[np.int64]
    target: BoolArray
    last: NDArray[np.int64]
    thresholds: FloatArray

    @classmethod
    def of(cls, scores: ArrayLike, target: ArrayLike) -> Ranking:
        """scores: (N,) finite; target: (N,) of truth values.

        Raises UserError for scores that are not finite, or without a target or a non-target.
        """
        values, truth = np.asarray(scores, dtype=np.float64), np.asarray(target, dtype=bool)
        if values.shape != truth.shape or values.ndim != 1:
            raise ValueError(f"scores of shape {values.shape} and targets of shape {truth.shape}; expected (N,) both")
        if not np.isfinite(values).all():
            raise UserError(
                f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} trial scores are not finite, so they "
                "cannot be ranked; the head has diverged: lower its learning rate."
            )
        if truth.all() or not truth.any():
            raise UserError(
                f"Error rates need target and non-target trials; {np.count_nonzero(truth)} of the {len(truth)} trials "
                "are targets. Use a list of trials that has both."
            )
        order = np.argsort(-values, kind="stable")
        ranked = values[order]
        last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        return cls(order, truth[order], last, np.append(np.inf, ranked[last]))

    def rates(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """False-alarm and miss rate at each threshold, (K,) each; weights: (N,) of the trials, in falling order."""
        targets = np.cumsum(weights * self.target)[self.last]
        nontargets = np.cumsum(weights * ~self.target)[self.last]
        return np.append(0.0, nontargets / nontargets[-1]), np.append(1.0, 1.0 - targets / targets[-1])

    def crossing(self, weights: FloatArray) -> tuple[float, float]:
        """Equal error rate and its threshold; weights: (N,) of the trials, in falling order."""
        false_alarm, miss = self.rates(weights)
        after = int(np.argmax(false_alarm >= miss))  # at the first threshold nothing is accepted: 0 and 1
        excess = miss - false_alarm
        share = excess[after - 1] / (excess[after - 1] - excess[after])
        rate = false_alarm[after - 1] + share * (false_alarm[after] - false_alarm[after - 1])
        upper, lower = self.thresholds[after - 1], self.thresholds[after]
        return float(rate), float(upper + share * (lower - upper) if np.isfinite(upper) else lower)

    def cost(self, weights: FloatArray, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> tuple[float, float]:
        """Least normalised cost and its highest threshold; weights: (N,) of the trials, in falling order."""
        false_alarm, miss = self.rates(weights)
        costs = c_miss * p_target * miss + c_fa * (1.0 - p_target) * false_alarm
        best = int(np.argmin(costs))
        return float(costs[best] / min(c_miss * p_target, c_fa * (1.0 - p_target))), float(self.thresholds[best])

    def value(self, metric: str, weights: FloatArray) -> float:
        """One of the family's metrics; weights: (N,) of the trials, in falling order.

        NaN where no target or no non-target has a weight.
        """
        if not 0.0 < weights @ self.target < weights.sum():
            return math.nan
        return self.cost(weights, COSTS[metric])[0] if metric in COSTS else self.crossing(weights)[0]


def detection_curve(scores: ArrayLike, target: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """False-alarm rates, miss rates and thresholds, (K,) each, by falling threshold.

    The first threshold is infinite and accepts nothing; each distinct score follows, and the last accepts everything.
    """
    ranking = Ranking.of(scores, target)
    return *ranking.rates(np.ones(len(ranking.order))), ranking.thresholds


def equal_error_rate(scores: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Return the equal error rate, in [0, 1], and its threshold.

    Between two neighbouring points of the detection curve, rates and threshold are interpolated linearly. This is
    SUPERB's rate (s3prl 0.4.18, downstream/sv_voxceleb1/utils.py: the root of 1 - x - tpr(x) on scikit-learn's
    curve). Trials of equal score are one step of the curve: if all are equal, the rate is 1/2. Where the crossing lies
    before the highest score, the threshold is that score.

    weights: (N,) how often each trial counts, once each by default.
    """
    ranking = Ranking.of(scores, target)
    each = np.ones(len(ranking.order)) if weights is None else np.asarray(weights, dtype=np.float64)
    return ranking.crossing(each[ranking.order])


def min_dcf(
    scores: ArrayLike, target: ArrayLike, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0
) -> tuple[float, float]:
    """Return the least detection cost over all thresholds, and the highest threshold that has it.

    The cost c_miss p_target miss + c_fa (1 - p_target) false alarm is divided by that of the better of accepting
    nothing and accepting everything (NIST speaker recognition evaluation plans, from 2008 on), so it is 1 at
    most; the threshold is infinite where accepting nothing is best.
    """
    ranking = Ranking.of(scores, target)
    return ranking.cost(np.ones(len(ranking.order)), p_target, c_miss, c_fa)
