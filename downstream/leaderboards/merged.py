"""One score of several runs that differ in their seeds alone, and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from downstream.leaderboards.gathering import Found
from downstream.results import Score
from upstream.text import counted

HALF = 0.975  # the quantile whose symmetric interval is one of 95 %


@dataclass(frozen=True)
class Merged:
    """Runs of one question on one row with the same competing settings.

    by_seed: score of each seed, counted once. value: their mean. interval: how `low` and `high` were found.
    development: mean development score of the chosen heads. notes: on seeds that were run twice with two answers.
    """

    runs: tuple[Found, ...]
    by_seed: dict[str, float]
    value: float
    low: float | None
    high: float | None
    interval: str
    development: float
    notes: tuple[str, ...]

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None of one seed."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


def merged(runs: Sequence[Found]) -> Merged:
    """Merge runs: the mean over their seeds, each once, of the run that has most of them.

    A run whose seeds others have all is listed, and adds nothing.
    """
    ordered = sorted(runs, key=lambda run: (-len(seeds_of(run)), run.place, run.digest))
    by_seed: dict[str, float] = {}
    shares: list[tuple[Found, int]] = []  # of the mean: a run, and how many seeds it adds
    notes: list[str] = []
    for run in ordered:
        new = {seed: value for seed, value in seeds_of(run).items() if seed not in by_seed}
        notes += differing(run, by_seed)
        by_seed |= new
        shares += [(run, len(new))] if new else []
    first = primary_of(ordered[0])
    value, ends = first.value, (first.low, first.high, first.interval)
    if len(shares) > 1:
        value, ends = fmean(by_seed.values()), pooled(shares, list(by_seed.values()))
    development = fmean(head.development for run, _ in shares for head in run.result.primary_heads())
    return Merged(tuple(ordered), by_seed, value, *ends, development, tuple(notes))


def pooled(shares: Sequence[tuple[Found, int]], by_seed: Sequence[float]) -> tuple[float | None, float | None, str]:
    """Return the interval of a mean over seeds, of which several runs have a share each, and how it was found.

    The runs were tested on the same items, so their errors from the choice of these are alike: the standard deviation
    of the mean is at most the mean of the standard deviations, and so are the distances to the ends of the interval.
    To these the uncertainty of a mean over that many seeds is added, t-based, in squares.
    """
    value, seeds = fmean(by_seed), len(by_seed)
    below = above = 0.0
    for run, share in shares:
        score = primary_of(run)
        if score.low is None or score.high is None:
            return None, None, "none: one of the merged runs has none"
        below += share / seeds * (score.value - score.low)
        above += share / seeds * (score.high - score.value)
    from scipy.stats import t

    of_seeds = float(t.ppf(HALF, seeds - 1)) * stdev(by_seed) / math.sqrt(seeds)
    metric, own = shares[0][0].result.metric_types[shares[0][0].result.primary.name], primary_of(shares[0][0])
    lowest = 0.0 if metric.percent else -math.inf
    highest = 1.0 if metric.percent and metric.higher_is_better else math.inf
    how = (
        f"95 %: of {len(shares)} merged runs the mean distance to the ends of their intervals ({own.interval}), and "
        f"the uncertainty of a mean over {counted(seeds, 'seed')}, t-based, added in squares"
    )
    return max(lowest, value - math.hypot(below, of_seeds)), min(highest, value + math.hypot(above, of_seeds)), how


def primary_of(run: Found) -> Score:
    """Return the primary score of a run, with its seeds."""
    primary = run.result.primary
    return run.result.layers[0].score(primary.name, primary.part)


def seeds_of(run: Found) -> dict[str, float]:
    """Return the score of each seed: of the heads, and of the order of utterances where that is another one."""
    order = [seed for seed in run.result.seeds.get("order", []) if seed]
    after = f", order {order[0]}" if order else ""
    return {f"{seed}{after}": value for seed, value in primary_of(run).by_seed.items()}


def differing(run: Found, by_seed: dict[str, float]) -> list[str]:
    """Return a sentence for each seed of a run that another run gave another score."""
    metric = run.result.metric_types[run.result.primary.name]
    return [
        f"Seed {seed} was run more than once, with {metric.written(by_seed[seed])} and {metric.written(value)}; the "
        "first counts."
        for seed, value in seeds_of(run).items()
        if seed in by_seed and not math.isclose(by_seed[seed], value, rel_tol=0, abs_tol=1e-9)
    ]
