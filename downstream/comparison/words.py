"""Comparisons on the terminal: a table for each test, what it shows, and how it was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Column, Table
from rich.text import Text

from downstream.comparison.comparison import Comparison
from downstream.comparison.difference import LEVEL
from upstream.terminal import plain_table


def by_test(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """Return comparisons of the same test together."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault((one.title, one.test), []).append(one)
    return list(groups.values())


def comparison_table(group: Sequence[Comparison], is_corrected: bool) -> Table:
    """Return a row for each comparison of one test; is_corrected: p has been corrected for several comparisons."""
    first = group[0]
    unit = "points" if first.metric.percent else "units of the metric"
    has_exact = any(one.mcnemar is not None for one in group)
    more = [*(["p, Holm"] if is_corrected else []), *(["McNemar"] if has_exact else []), "could show"]
    numbers = [first.metric.heading.replace(first.metric.title, letter) for letter in "AB"]
    numbers += ["A - B", "95 % interval", "p", *more]
    columns = [Column(heading, justify="right", no_wrap=True) for heading in numbers]
    table = plain_table("A", "B", *columns, title=f"{first.title}, {first.test}; differences in {unit}")
    for one in group:
        written = one.metric.written
        table.add_row(
            *map(Text, one.labels),
            written(one.one.value),
            written(one.other.value),
            one.points(one.difference.value, signed=True),
            one.interval,
            p_text(one.p),
            *([p_text(one.p_holm)] if is_corrected else []),
            *([p_text(one.mcnemar.p if one.mcnemar else math.nan)] if has_exact else []),
            one.points(one.difference.smallest),
            style="bold" if one.is_shown else "",
        )
    return table


def p_text(p: float) -> str:
    """Return a p as papers print it."""
    if math.isnan(p):
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def said_p(p: float) -> str:
    """Return "p = 0.03", or "p < 0.001"."""
    return f"p = {p_text(p)}".replace("= <", "< ")


def verdict(comparison: Comparison) -> str:
    """Return what the comparison shows, in one or two sentences."""
    one, metric, labels, better = comparison, comparison.metric, comparison.labels, comparison.better
    values = [f"{metric.written(side.value)}{metric.unit}" for side in (one.one, one.other)]
    if math.isnan(one.p):
        return (
            f"Whether {labels[0]} ({metric.title} {values[0]}) and {labels[1]} ({values[1]}) differ cannot be told "
            f"from {one.tested}: it takes two or more to see how much they vary."
        )
    unit = " points" if metric.percent else ""
    could = f"such a test set shows a difference of {one.points(one.difference.smallest)}{unit} in 80 % of cases"
    if better is None and math.isnan(one.difference.smallest):
        return (
            f"{labels[0]} and {labels[1]} have the same {metric.title}, {values[0]}, with each of {one.tested}, so "
            "that nothing tells how much they might differ."
        )
    if better is None:
        return f"{labels[0]} and {labels[1]} have the same {metric.title}, {values[0]}; {could}."
    if one.is_shown:
        compared = f"{metric.title} {values[better]} against {values[1 - better]}"
        return f"{labels[better]} is better than {labels[1 - better]}: {compared} ({said_p(one.p_holm)})."
    if one.p < LEVEL:
        return (
            f"{labels[better]} looks better than {labels[1 - better]} by itself ({said_p(one.p)}), but is not shown to "
            f"be among so many comparisons (Holm: {said_p(one.p_holm)}); {could}."
        )
    return f"{labels[0]} and {labels[1]} are not shown to differ ({said_p(one.p)}); {could}."


def notes(group: Sequence[Comparison]) -> Iterator[str]:
    """Yield how comparisons of one test were made, and what a reader of their p should know."""
    first = group[0]
    if any(one.other.is_finetuned != one.one.is_finetuned for one in group):
        yield (
            "The protocols differ: one encoder learned with its head, the other is frozen. The difference is that of "
            "the two ways, on the same test items; leaderboards keep them apart."
        )
    if first.mcnemar_holds:
        yield "p is McNemar's exact one, for no two items share a speaker; intervals are Student's t, by the jackknife."
    elif not math.isnan(first.difference.spread.variance):
        degrees = dict.fromkeys(f"{one.difference.spread.degrees_of_freedom:.3g}" for one in group)
        yield (
            f"p and intervals: Student's t over {first.tested} ({', '.join(degrees)} degrees of freedom), by the "
            "paired jackknife that leaves out one after the other."
        )
    if any(one.mcnemar is not None for one in group) and not first.mcnemar_holds:
        yield "McNemar: its exact p, which would hold if items of one speaker were independent, and they are not."
    seeds = {(one.one.seeds, one.other.seeds) for one in group}
    if (1, 1) in seeds:
        yield "One seed a side: how much other seeds would change is not in p and intervals (-o sweep.seed=[0,1,2])."
    if any(max(pair) > 1 for pair in seeds):
        yield "Several seeds: how much they differ is in p and intervals, as independent draws on both sides."
    if any(1 in pair and pair != (1, 1) for pair in seeds):
        yield "A side of one seed is taken to vary over seeds as much as the other side does."
    yield "could show: the true difference that such a test set shows with p < 0.05 in 80 % of cases."
