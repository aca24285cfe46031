"""A cell of a table in words, as the page shows it closed and opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from downstream.leaderboards.board import Cell, Column, Row, Section, departs
from downstream.leaderboards.comparison import Beside, beside
from downstream.leaderboards.drawings import STRIP_WIDTH, Axis, Drawing, strip
from downstream.leaderboards.labels import RowLabel
from downstream.leaderboards.merged import Merged
from downstream.leaderboards.ranks import Rank, ends_of, is_better
from downstream.leaderboards.record_view import RecordView, view_of
from downstream.report import why_incomparable
from downstream.results import MetricRecord
from upstream.text import counted

ANCHOR = 12  # letters of the first record's digest


@dataclass(frozen=True)
class RunLine:
    """One merged score of an opened cell: one a line, where there are several; and its runs."""

    seeds: str
    score: str
    development: str
    places: tuple[str, ...]
    is_shown: bool


@dataclass(frozen=True)
class CellView:
    """What the page shows of a cell.

    anchor: of the opened cell, the same as long as its first record is. value, ends: as they are written; "" where
        nothing was run. sort: the value to sort by, better always larger. marks: short words below the score.
    lines, records, sentences: of the opened cell.
    """

    beside: tuple[Beside, ...]
    sort_published: str
    anchor: str = ""
    value: str = ""
    unit: str = ""
    ends: str = ""
    rank: Rank | None = None
    marks: tuple[str, ...] = ()
    strip: Drawing | None = None
    sort: str = ""
    sentences: tuple[str, ...] = ()
    lines: tuple[RunLine, ...] = ()
    records: tuple[RecordView, ...] = ()


def cell_views(
    section: Section, column: Column, ranks: dict[Row, Rank], labels: dict[Row, RowLabel]
) -> dict[Row, CellView]:
    """Return what the page shows of each cell of a column."""
    axis = axis_of(section, column)
    views = {row: published_view(section.cell(row, column), column) for row in section.rows}
    for row, cell in section.of_column(column):
        if (shown := cell.shown) is None or (metric := column.record) is None:
            continue
        views[row] = replace(
            views[row],
            anchor=f"cell-{shown.runs[0].digest[:ANCHOR]}",
            value=metric.written(shown.value),
            unit=metric.unit,
            ends=ends_written(shown, metric),
            rank=ranks.get(row),
            marks=tuple(marks_of(cell, column)),
            strip=strip_of(shown, axis, views[row].beside, metric),
            sort=f"{(1 if column.higher_is_better else -1) * shown.value:.9g}",
            sentences=tuple(sentences(section, column, row, labels)),
            lines=tuple(run_lines(cell, metric)),
            records=tuple(view_of(run) for run in cell.runs),
        )
    return views


def published_view(cell: Cell, column: Column) -> CellView:
    """Return a cell with its published scores alone."""
    published = tuple(beside(cell, column))
    sign = 1 if column.higher_is_better else -1
    return CellView(beside=published, sort_published=f"{sign * published[0].score.percent:.6g}" if published else "")


def strip_of(shown: Merged, axis: Axis, published: Sequence[Beside], metric: MetricRecord) -> Drawing:
    """Return the drawing of a score on its column's axis, with published scores as marks."""
    marks = [one.score.percent / 100 if metric.percent else one.score.value for one in published]
    return strip(shown.value, shown.low, shown.high, axis, marks)


def axis_of(section: Section, column: Column) -> Axis:
    """Return the common axis of a column's strips: from the lowest end of an interval to the highest."""
    shown = [cell.shown for _, cell in section.of_column(column) if cell.shown is not None]
    ends = [end for one in shown for end in (one.value, one.low, one.high) if end is not None]
    return Axis(min(ends, default=0.0), max(ends, default=1.0), STRIP_WIDTH)


def ends_written(shown: Merged, metric: MetricRecord) -> str:
    """Return both ends of an interval, or that there is none."""
    if shown.low is None or shown.high is None:
        return "no interval"
    return f"{metric.written(shown.low)} to {metric.written(shown.high)}"


def marks_of(cell: Cell, column: Column) -> Iterator[str]:
    """Yield short words on seeds, runs and caveats."""
    shown = cell.shown
    assert shown is not None
    first = shown.runs[0].result
    if not column.departs and departs(first):
        yield "not the protocol"
    if len(shown.by_seed) > 1:
        yield f"{len(shown.by_seed)} seeds"
    if len(cell.runs) > 1:
        yield f"{len(cell.runs)} runs"
    if first.caveats:
        yield counted(len(first.caveats), "caveat")


def sentences(section: Section, column: Column, row: Row, labels: dict[Row, RowLabel]) -> Iterator[str]:
    """Yield what is to be known of a score: its interval, its seeds, its place, and how it was merged."""
    shown = section.cell(row, column).shown
    assert shown is not None
    metric = column.record
    assert metric is not None
    yield f"Interval: {shown.interval}."
    if shown.spread is not None:
        each = ", ".join(f"{seed}: {metric.written(value)}" for seed, value in shown.by_seed.items())
        yield f"Seeds: {each}{metric.unit}; standard deviation {metric.written(shown.spread)}."
    yield from shown.notes
    if why := why_incomparable(shown.runs[0].result):
        yield f"No published score stands beside: {why}"
    yield from of_place(section, column, row, labels)
    others = len(section.cell(row, column).merged) - 1
    if others:
        yield (
            f"{counted(others, 'other setting')} of learning rate or store below: their development scores are no "
            "better than this one's."
        )


def of_place(section: Section, column: Column, row: Row, labels: dict[Row, RowLabel]) -> Iterator[str]:
    """Yield sentences on whom a score is behind, and whom it cannot be told apart from."""
    own = ends_of(row, column, section.cell(row, column))
    if own is None:
        yield "It has no place: it is a control, has no interval, or alone left the protocol."
        return
    others = {
        labels[other].text: ends
        for other, cell in section.of_column(column)
        if other is not row and (ends := ends_of(other, column, cell)) is not None
    }
    higher = column.higher_is_better
    better = [name for name, ends in others.items() if is_better(ends, own, higher)]
    overlapping = [
        name for name, ends in others.items() if not (is_better(ends, own, higher) or is_better(own, ends, higher))
    ]
    if better:
        yield f"Better with their whole intervals: {', '.join(better)}."
    if overlapping:
        yield f"Not told apart by their intervals: {', '.join(overlapping)}."


def run_lines(cell: Cell, metric: MetricRecord) -> Iterator[RunLine]:
    """Yield a line for each merged score of a cell; none where it is a single run."""
    if len(cell.runs) < 2:
        return
    for one in cell.merged:
        result = one.runs[0].result
        yield RunLine(
            ", ".join(one.by_seed),
            f"{metric.written(one.value)} ({ends_written(one, metric)})",
            result.metric_types[result.select].written(one.development),
            tuple(run.place for run in one.runs),
            one is cell.shown,
        )
