"""The tables of a leaderboard: upstreams by questions, one table a protocol, each cell with its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from downstream.leaderboards.gathering import Found, Gathered, LeftOut
from downstream.leaderboards.merged import Merged, merged
from downstream.recipes import FINE_TUNED
from downstream.report import (
    Asked,
    Question,
    ReferenceScore,
    asked_of,
    compared,
    competing_of,
    known_name,
    published_upstream,
    question_of,
    read_reference_scores,
    why_incomparable,
)
from downstream.results import CHANGED, MetricRecord, Result
from downstream.tasks import find_family, is_external

PROTOCOLS = ("superb", "clean", FINE_TUNED)  # come first, in this order; demonstrations come last
LAST = "demo"
PUBLISHED = "superb"  # the protocol that there are published scores of


@dataclass(frozen=True)
class Cell:
    """The runs of one upstream on one question, and what was published of it.

    merged: of each competing setting, the one with the best development score first; that is the score of the cell.
        None where nothing was run.
    published: scores of the same upstream on the same task, of every source.
    """

    merged: tuple[Merged, ...] = ()
    published: tuple[ReferenceScore, ...] = ()

    @property
    def shown(self) -> Merged | None:
        """The score of the cell."""
        return self.merged[0] if self.merged else None

    @property
    def runs(self) -> list[Found]:
        """All runs of the cell, those of its score first."""
        return [run for one in self.merged for run in one.runs]


@dataclass(frozen=True, eq=False)
class Column:
    """A question that records answer, or a task with published scores that nothing here was run on.

    question: None where nothing was run; first: the record that describes the column.
    """

    task: str
    metric: str
    question: Question | None = None
    first: Result | None = None

    @property
    def record(self) -> MetricRecord | None:
        """Title, unit and direction of the metric, where a record says them."""
        return self.first.metric_types[self.metric] if self.first is not None else None

    @property
    def departs(self) -> bool:
        """True where all runs left the recipe of SUPERB's protocol, not single ones of them."""
        return self.first is not None and departs(self.first)

    @property
    def higher_is_better(self) -> bool:
        """The direction of the metric."""
        if self.record is not None:
            return self.record.higher_is_better
        scores = (one for one in reference_scores() if (one.task, one.metric) == (self.task, self.metric))
        return next(scores).higher_is_better

    @property
    def published_as(self) -> str | None:
        """The metric's name in the tables of published scores; None where none may stand beside."""
        if self.first is None:
            return self.metric
        if is_external(self.first.task) or why_incomparable(self.first) is not None:
            return None
        return find_family(self.first.task).published_as(self.metric, self.first.recipe.resolved)


@dataclass(frozen=True, eq=False)
class Row:
    """An upstream as it was read, or a published one that nothing was run of.

    name: the catalogue's where it has one. first: the record that describes it.
    """

    name: str
    asked: Asked | None = None
    first: Result | None = None

    @property
    def published_name(self) -> str | None:
        """The name under which published scores are of the same weights, read as the protocol reads them."""
        if self.asked is None or self.first is None:
            return self.name
        return None if self.asked.layer else published_upstream(self.first.upstream)

    @property
    def is_control(self) -> bool:
        """True for untrained weights."""
        return self.asked is not None and self.asked.random_init


@dataclass(frozen=True, eq=False)
class Section:
    """The table of a protocol."""

    protocol: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    cells: dict[tuple[Row, Column], Cell]

    def cell(self, row: Row, column: Column) -> Cell:
        """Return a cell, an empty one where there are neither runs nor published scores."""
        return self.cells.get((row, column), Cell())

    def of_column(self, column: Column) -> list[tuple[Row, Cell]]:
        """Return the cells of a column that have runs."""
        return [(row, cell) for row in self.rows if (cell := self.cell(row, column)).merged]

    @property
    def was_run(self) -> bool:
        """False for a table of published scores alone."""
        return any(column.question is not None for column in self.columns)


@dataclass(frozen=True)
class Board:
    """All tables, and the records that were left out of them.

    copies: records that are a copy of another one.
    """

    sections: tuple[Section, ...]
    refused: tuple[LeftOut, ...] = ()
    copies: int = 0

    @property
    def records(self) -> list[Found]:
        """All records, by their places."""
        found = {run.digest: run for section in self.sections for cell in section.cells.values() for run in cell.runs}
        return sorted(found.values(), key=lambda run: (run.place, run.digest))


def board_of(gathered: Gathered) -> Board:
    """Return the tables of the records that were gathered, with SUPERB's published scores beside its protocol's."""
    by_protocol: dict[str, list[Found]] = defaultdict(list)
    for run in gathered.records:
        by_protocol[run.result.recipe.protocol].append(run)
    by_protocol.setdefault(PUBLISHED, [])
    sections = [section_of(protocol, runs) for protocol, runs in by_protocol.items()]
    sections.sort(key=lambda section: (not section.was_run, *place_of_protocol(section.protocol)))
    return Board(tuple(sections), gathered.refused, gathered.copies)


def place_of_protocol(protocol: str) -> tuple[int, str]:
    """Return what the tables are sorted by."""
    return (PROTOCOLS.index(protocol) if protocol in PROTOCOLS else len(PROTOCOLS) + (protocol == LAST), protocol)


def section_of(protocol: str, runs: Sequence[Found]) -> Section:
    """Return the table of some runs of one protocol."""
    columns: dict[Question, Column] = {}
    rows: dict[Asked, Row] = {}
    grouped: dict[tuple[Row, Column], list[Found]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: departs(run.result)):  # a column is described by a run that does not
        question, asked = question_of(run.result), asked_of(run.result)
        column = columns.setdefault(question, Column(question.recipe, question.metric, question, run.result))
        row = rows.setdefault(asked, Row(known_name(run.result), asked, run.result))
        grouped[row, column].append(run)
    cells = {
        place: Cell(tuple(by_development(own)), tuple(published_beside(own[0].result)))
        for place, own in grouped.items()
    }
    table = Section(protocol, tuple(columns.values()), tuple(rows.values()), cells)
    if protocol == PUBLISHED:
        table = with_published(table)
    return in_order(table)


def by_development(runs: Iterable[Found]) -> list[Merged]:
    """Return the scores of a cell: runs with the same competing settings are merged; best development score first."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for run in runs:
        groups[competing_of(run.result)].append(run)
    found = [merged(group) for group in groups.values()]

    def place(one: Merged) -> tuple[float, int, str]:
        result = one.runs[0].result
        sign = -1 if result.metric_types[result.select].higher_is_better else 1
        return (sign * one.development, -len(one.by_seed), one.runs[0].place)

    return sorted(found, key=place)


# ---------------------------------------------------------------- published scores


@cache
def reference_scores() -> tuple[ReferenceScore, ...]:
    """Return all published scores."""
    return tuple(read_reference_scores())


def departs(result: Result) -> bool:
    """Return True for a run that left the recipe of SUPERB's protocol, so that published scores are not comparable."""
    return any(said.startswith(CHANGED) for said in result.caveats)


def published_beside(result: Result) -> list[ReferenceScore]:
    """Return the published scores of the same upstream on the same task in the same metric."""
    primary = (result.primary.name, result.primary.part)
    return [one.reference for one in compared(result) if (one.own.metric, one.own.part) == primary]


def with_published(section: Section) -> Section:
    """Add what was published and not run: columns of other tasks, rows of other upstreams, and their scores."""
    columns, rows, cells = list(section.columns), list(section.rows), dict(section.cells)
    for score in reference_scores():
        column = next((one for one in columns if is_column_of(one, score)), None)
        if column is None:
            columns.append(column := Column(score.task, score.metric))
        row = next((one for one in rows if one.published_name == score.upstream), None)
        if row is None:
            rows.append(row := Row(score.upstream))
        cell = cells.get((row, column), Cell())
        if score not in cell.published:
            cells[row, column] = Cell(cell.merged, (*cell.published, score))
    return Section(section.protocol, tuple(columns), tuple(rows), cells)


def is_column_of(column: Column, score: ReferenceScore) -> bool:
    """Return True for the column that a published score belongs to."""
    return (column.task, column.published_as) == (score.task, score.metric)


# ---------------------------------------------------------------- order


def in_order(section: Section) -> Section:
    """Sort a table: what was run first; tasks as SUPERB's table has them, then by name; rows by the fullest column."""
    tasks = list(dict.fromkeys((score.task, score.metric) for score in reference_scores()))

    def place(column: Column) -> tuple[object, ...]:
        known = (column.task, column.published_as or column.metric)
        question = column.question
        own = ("", 0, "") if question is None else (question.corpus, question.version, question.settings)
        number = tasks.index(known) if known in tasks else -1
        return (question is None, number, *known, column.published_as is None, *own)

    columns = tuple(sorted(section.columns, key=place))
    ordered = Section(section.protocol, columns, section.rows, section.cells)
    return Section(section.protocol, columns, tuple(rows_in_order(ordered)), section.cells)


def rows_in_order(section: Section) -> list[Row]:
    """Sort rows by the score in the fullest column: trained upstreams, then controls, then what was not run."""
    column = fullest(section)

    def place(row: Row) -> tuple[object, ...]:
        cell = section.cell(row, column) if column is not None else Cell()
        value = cell.shown.value if cell.shown else cell.published[0].value if cell.published else None
        sign = 1 if column is not None and column.higher_is_better is False else -1
        kind = 2 if row.asked is None else int(row.is_control)
        return (kind, value is None, sign * (value or 0.0), row.name, str(row.asked))

    return sorted(section.rows, key=place)


def fullest(section: Section) -> Column | None:
    """Return the column with most runs, or, where there are none, with most published scores; the first of equals."""
    return max(
        section.columns,
        key=lambda column: (
            len(section.of_column(column)),
            sum(bool(section.cell(row, column).published) for row in section.rows),
        ),
        default=None,
    )
