"""A paired test of two scores on the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from downstream.comparison.difference import (
    LEVEL,
    Difference,
    difference_of,
    is_over_single_items,
    is_share_of_right,
)
from downstream.comparison.exact_tests import McNemar, mcnemar
from downstream.comparison.side import Side
from downstream.results import MetricRecord
from downstream.statistics import described


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two scores on the same items, their difference, and whether it could be chance.

    labels: names of both sides, A and B. tested: whom the items are of. items: their number, over all folds.
    mcnemar: exact test of items that one side alone has right; None where it does not apply.
    mcnemar_holds: True where items are independent, so that its p is the one that counts.
    p_holm: p for all comparisons that were made together.
    """

    one: Side
    other: Side
    labels: tuple[str, str]
    difference: Difference
    tested: str
    items: int
    mcnemar: McNemar | None
    mcnemar_holds: bool
    p_holm: float = math.nan

    @classmethod
    def of(cls, one: Side, other: Side, labels: tuple[str, str]) -> Comparison:
        """Return the comparison of two sides of the same test (`refuse_other_test`)."""
        folds = {head.fold: head.items for head in one.heads}.values()
        applies = (one.seeds, other.seeds) == (1, 1) and all(is_share_of_right(head, one.metric) for head in one.heads)
        return cls(
            one=one,
            other=other,
            labels=labels,
            difference=difference_of(one.heads, other.heads, one.metric),
            tested=described({name for items in folds for own in items.clusters for name in own}),
            items=sum(map(len, folds)),
            mcnemar=mcnemar(one.heads, other.heads) if applies else None,
            mcnemar_holds=applies and is_over_single_items(one.heads),
        )

    @property
    def p(self) -> float:
        """Two-sided p of no difference; NaN where there are too few speakers to tell."""
        if self.mcnemar is not None and self.mcnemar_holds:
            return self.mcnemar.p
        return self.difference.p

    @property
    def metric(self) -> MetricRecord:
        """Title and format of the metric."""
        return self.one.result.metric_types[self.one.metric]

    @property
    def title(self) -> str:
        """What was tested: recipe, corpus and metric, and the part where it has a name."""
        result, part = self.one.result, "" if self.one.part == "test" else f", {self.one.part}"
        return f"{result.recipe.name} on {result.corpus.title}{part}: {self.metric.title}"

    @property
    def test(self) -> str:
        """How many items of whom were tested."""
        folds = f" in {self.one.folds} folds" if self.one.folds > 1 else ""
        return f"{self.items:,} items of {self.tested}{folds}"

    @property
    def better(self) -> int | None:
        """The side whose score is better, 0 or 1; None where they are equal."""
        if not self.difference.value:
            return None
        return 0 if (self.difference.value > 0) == self.metric.higher_is_better else 1

    @property
    def is_shown(self) -> bool:
        """True where the difference is significant at 5 %, all comparisons taken together."""
        return self.p_holm < LEVEL

    def points(self, value: float, signed: bool = False) -> str:
        """Return a difference as tables show it, of a share in points; "-" for NaN."""
        if math.isnan(value):
            return "-"
        scaled = value * self.metric.scale
        return f"{scaled:{'+' if signed else ''}.{2 if self.metric.percent else 4}f}"

    @property
    def interval(self) -> str:
        """Both ends of the 95 % interval of the difference as tables show them."""
        low, high = self.difference.interval
        return "-" if math.isnan(low) else f"{self.points(low, signed=True)} to {self.points(high, signed=True)}"

    def row(self) -> dict[str, Any]:
        """Return the comparison as one row; scores and differences are shares where scores are, not percent."""
        one, other, difference = self.one, self.other, self.difference
        low, high = difference.interval
        spread = difference.spread
        return {
            "recipe": one.result.recipe.name,
            "corpus": one.result.corpus.name,
            "part": one.part,
            "metric": one.metric,
            "higher_is_better": self.metric.higher_is_better,
            "a": self.labels[0],
            "b": self.labels[1],
            "a_layer": one.layer,
            "b_layer": other.layer,
            "a_value": one.value,
            "b_value": other.value,
            "difference": difference.value,
            "low": low,
            "high": high,
            "p": self.p,
            "p_holm": self.p_holm,
            "is_shown": self.is_shown,
            "smallest_shown": difference.smallest,
            "test": "exact McNemar" if self.mcnemar_holds else "paired jackknife over clusters, t",
            "standard_error": math.sqrt(spread.variance),
            "standard_error_of_seeds": math.sqrt(sum(part.variance for part in spread.seeds)),
            "degrees_of_freedom": spread.degrees_of_freedom,
            "degrees_of_freedom_of_seeds": min((part.degrees_of_freedom for part in spread.seeds), default=None),
            "items": self.items,
            "tested": self.tested,
            "folds": one.folds,
            "a_seeds": one.seeds,
            "b_seeds": other.seeds,
            "only_a_right": self.mcnemar and self.mcnemar.only_one,
            "only_b_right": self.mcnemar and self.mcnemar.only_other,
            "p_mcnemar": self.mcnemar and self.mcnemar.p,
            "a_folder": one.place,
            "b_folder": other.place,
        }
