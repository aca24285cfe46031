"""The row of a suite: every score of an upstream, beside the published ones, and the overall score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from downstream.recipes import FINE_TUNED, shipped
from downstream.report import (
    cells_of,
    compared,
    interval_of,
    overall_score,
    published_upstream,
    read_reference_scores,
    why_incomparable,
)
from downstream.results import Result
from downstream.suites.carrying_out import SuiteOutcome, SuiteRun
from upstream.terminal import plain_table

HEADINGS = ("recipe", "metric", "score", "95 % interval", "published", "difference", "it lies", "table")


def rows_of(outcome: SuiteOutcome) -> Iterator[Table | Text]:
    """Yield the row of each upstream, and what is to be said of it."""
    for name in dict.fromkeys(run.upstream for run in outcome.runs):
        runs = [run for run in outcome.runs if run.upstream == name]
        yield row_table(outcome, name, runs)
        results = [run.outcome.result for run in runs if run.outcome is not None]
        for said in sentences(outcome, results):
            yield Text(said)


def row_table(outcome: SuiteOutcome, name: str, runs: Sequence[SuiteRun]) -> Table:
    """Return the scores of one upstream, a line for each and for every published one; without these where none is."""
    lines = [line for run in runs for line in lines_of(run)]
    lines += [(one.label, "", "not run", *[""] * 5) for one in outcome.unreadable]
    width = len(HEADINGS) if any(line[4] for line in lines) else 4
    untrained = any(run.outcome is not None and run.outcome.result.upstream.random_init for run in runs)
    title = f"{outcome.suite.title or outcome.suite.name}: {name}{', untrained' if untrained else ''}"
    table = plain_table(title=title)
    for heading in HEADINGS[:width]:
        table.add_column(heading, justify="left" if heading in ("recipe", "metric", "it lies", "table") else "right")
    for line in lines:
        table.add_row(*line[:width])
    return table


def lines_of(run: SuiteRun) -> list[tuple[str, ...]]:
    """Return the lines of one run: its primary score, with each published one, or that it failed."""
    if run.outcome is None:
        return [(run.recipe, "", "failed", *[""] * 5)]
    result = run.outcome.result
    metric, primary = result.metric_types[result.primary.name], result.layers[0].score(result.primary.name)
    label = run.recipe if result.finetuning is None else f"{run.recipe}, {FINE_TUNED}"
    own = (label, metric.heading, metric.written(primary.value), interval_of(primary, metric))
    beside = [one for one in compared(result) if one.own.metric == result.primary.name]
    found = [
        (
            f"{one.reference.value:g}{'' if one.reference.verified else '?'}",
            f"{one.difference:+.2f}",
            one.place,
            one.reference.table,
        )
        for one in beside
    ]
    blank = ("", "", "", "")
    return [(*(own if number == 0 else blank), *one) for number, one in enumerate(found or [blank])]


def sentences(outcome: SuiteOutcome, results: Sequence[Result]) -> list[str]:
    """Return the overall score of a row, why scores have no published ones, and doubts about these."""
    if outcome.suite.published is None or not results:
        return []
    scores = read_reference_scores(shipped("results/reference") / f"{outcome.suite.published}.csv")
    said = [f"overall score: {overall_score(cells_of(results), scores).sentence}"]
    said += [
        f"{result.recipe.name} has no published score to stand beside: {why}"
        for result in results
        if (why := why_incomparable(result)) is not None
    ]
    if published_upstream(results[0].upstream) is None:
        what = "it is untrained" if results[0].upstream.random_init else f"{results[0].upstream.source} is in no table"
        said.append(f"No published row: {what}.")
    if any(not one.reference.verified for result in results for one in compared(result)):
        said.append("? is quoted from memory and was compared with no copy of the table.")
    return said
