"""The leaderboard as CSV: a line for every score that was run, and for every published one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from downstream.leaderboards.board import Board, Cell, Column, Row, Section
from downstream.leaderboards.comparison import beside
from downstream.leaderboards.labels import ColumnLabel, RowLabel, column_labels, row_labels
from downstream.leaderboards.ranks import Rank, ranks_of
from downstream.report import layer_words

COLUMNS = (
    "kind",
    "protocol",
    "recipe",
    "version",
    "settings",
    "corpus",
    "corpus_fingerprint",
    "synthetic",
    "upstream",
    "upstream_fingerprint",
    "untrained",
    "dtype",
    "layer",
    "metric",
    "part",
    "higher_is_better",
    "value",
    "low",
    "high",
    "interval",
    "chance",
    "place",
    "tied",
    "seeds",
    "seed_deviation",
    "runs",
    "caveats",
    "published",
    "source",
    "difference",
    "within_interval",
    "records",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for one


def csv_of(board: Board) -> str:
    """Return all scores as CSV.

    A line of kind `run` is a cell of the tables; `published` one published score, with the difference where the cell
    was run too. Shares are from 0 to 1, as in records; published scores are in the same unit.
    """
    stream = io.StringIO()
    table = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for section in board.sections:
        for line in lines_of(section):
            table.writerow({name: harmless(value) for name, value in line.items()})
    return stream.getvalue()


def lines_of(section: Section) -> Iterator[dict[str, object]]:
    """Yield the lines of a table, column by column."""
    columns, rows = column_labels(section), row_labels(section)
    for column in section.columns:
        ranks = ranks_of(section, column)
        for row in section.rows:
            cell = section.cell(row, column)
            common = described(section, column, row, columns[column], rows[row])
            if cell.shown is not None:
                yield {"kind": "run", **common, **run_line(cell, ranks.get(row))}
            for line in published_lines(cell, column):
                yield {"kind": "published", **common, **line}


def described(section: Section, column: Column, row: Row, over: ColumnLabel, before: RowLabel) -> dict[str, object]:
    """Return what identifies a cell."""
    question, asked = column.question, row.asked
    return {
        "protocol": section.protocol,
        "recipe": column.task,
        "version": question.version if question else "",
        "settings": " ".join(over.marks),
        "corpus": question.corpus if question else "",
        "corpus_fingerprint": question.fingerprint if question else "",
        "synthetic": yes(over.is_synthetic) if question else "",
        "upstream": before.name,
        "upstream_fingerprint": row.first.upstream.fingerprint if row.first else "",
        "untrained": yes(row.is_control),
        "dtype": asked.dtype if asked else "",
        "layer": layer_words(row.first.layers[0].layer) if row.first else "",
        "metric": column.metric,
        "part": question.part if question else "",
        "higher_is_better": yes(column.higher_is_better),
    }


def run_line(cell: Cell, rank: Rank | None) -> dict[str, object]:
    """Return the score of a cell that was run."""
    shown = cell.shown
    assert shown is not None
    first = shown.runs[0].result
    return {
        "value": shown.value,
        "low": shown.low,
        "high": shown.high,
        "interval": shown.interval,
        "chance": first.chance,
        "place": rank.place if rank else "",
        "tied": yes(rank.tied) if rank else "",
        "seeds": " ".join(shown.by_seed),
        "seed_deviation": shown.spread,
        "runs": len(cell.runs),
        "caveats": len(first.caveats),
        "records": " ".join(run.place for run in cell.runs),
    }


def published_lines(cell: Cell, column: Column) -> Iterator[dict[str, object]]:
    """Yield the published scores of a cell."""
    for one in beside(cell, column):
        in_percent = column.record is None or column.record.percent
        scale = 100 if in_percent and one.score.unit == "percent" else 1
        yield {
            "published": round(one.score.value / scale, 6),
            "source": one.score.source,
            "difference": "" if one.difference is None else round(float(one.difference) / scale, 6),
            "within_interval": "" if one.within is None else yes(one.within),
        }


def yes(value: bool) -> str:
    return "yes" if value else "no"


def harmless(value: object) -> object:
    """Return a cell; text from records that a spreadsheet would carry out as a formula gets an apostrophe before it."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if value is None else value
