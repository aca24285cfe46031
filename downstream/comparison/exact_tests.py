"""McNemar's exact test of two systems on the same items, and Holm's correction of several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from downstream.comparison.difference import HeadOfFold


@dataclass(frozen=True)
class McNemar:
    """Exact test of items that one system alone answers rightly; it holds where items are independent.

    only_one, only_other: numbers of those items. p: two-sided, of the binomial distribution (McNemar, Psychometrika
    12(2), 1947).
    """

    only_one: int
    only_other: int

    @property
    def p(self) -> float:
        from scipy.stats import binomtest

        number = self.only_one + self.only_other
        return float(binomtest(self.only_one, number).pvalue) if number else 1.0


def mcnemar(one: Sequence[HeadOfFold], other: Sequence[HeadOfFold]) -> McNemar:
    """Return McNemar's test over all folds of two systems, of one seed each."""
    right_of_one, right_of_other = map(right_items, (one, other))
    return McNemar(len(right_of_one - right_of_other), len(right_of_other - right_of_one))


def right_items(heads: Sequence[HeadOfFold]) -> set[tuple[str, str]]:
    """Return fold and id of every item that is answered rightly."""
    return {
        (head.fold, name)
        for head in heads
        for name, truth, answer in zip(head.items.ids, head.items.truths, head.items.answers or (), strict=True)
        if truth == answer
    }


def holm(values: Sequence[float]) -> list[float]:
    """Return p values that hold for all tests together (Holm, Scandinavian Journal of Statistics 6(2), 1979).

    The smallest of n is multiplied by n, the next one by n - 1, and so on; none is below one before it. NaN, of what
    could not be tested, stays and does not count.
    """
    order = sorted((p, number) for number, p in enumerate(values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(values), 0.0
    for rank, (p, number) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        adjusted[number] = largest
    return adjusted
