"""The leaderboard as Markdown: one table a protocol, an upstream a line."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from downstream.leaderboards.board import Board, Cell, Column, Section
from downstream.leaderboards.comparison import beside
from downstream.leaderboards.labels import column_labels, row_labels
from downstream.leaderboards.overall import overall_lines
from downstream.leaderboards.ranks import Rank, ranks_of
from downstream.leaderboards.words import PROTOCOLS, RULES, protocol_title, unread
from upstream.text import counted, one_line

MEANT = re.compile(r"([\\`*_\[\]|~#])")  # what Markdown would take for its own


def markdown_of(board: Board, title: str) -> str:
    """Return the leaderboard as Markdown."""
    lines = [f"# {literal(title)}", ""]
    for section in board.sections:
        lines += section_lines(section)
    if board.refused:
        lines += ["## Records that were left out", "", *(f"- {literal(unread(one))}" for one in board.refused), ""]
    lines += ["## How to read it", "", *(f"- {literal(rule)}" for rule in RULES), ""]
    return "\n".join(lines)


def section_lines(section: Section) -> Iterator[str]:
    """Yield the lines of one table."""
    columns, rows = column_labels(section), row_labels(section)
    ranks = {column: ranks_of(section, column) for column in section.columns}
    yield from (f"## {literal(protocol_title(section.protocol))}", "")
    yield from (literal(PROTOCOLS.get(section.protocol, "")), "")
    headings = [heading(columns[column].text, columns[column].metric, column) for column in section.columns]
    synthetic = ["<br>SYNTHETIC speech" if columns[column].is_synthetic else "" for column in section.columns]
    yield f"| upstream | {' | '.join(map(''.join, zip(headings, synthetic, strict=True)))} |"
    yield f"|---|{'---|' * len(section.columns)}"
    for row in section.rows:
        cells = [written(section.cell(row, column), column, ranks[column].get(row)) for column in section.columns]
        yield f"| {literal(rows[row].text)} | {' | '.join(cells)} |"
    yield ""
    for line in overall_lines(section):
        yield from (literal(line), "")


def heading(task: str, metric: str, column: Column) -> str:
    """Return the words over a column."""
    return f"{literal(task)}<br>{literal(metric)} {'↑' if column.higher_is_better else '↓'}"


def written(cell: Cell, column: Column, rank: Rank | None) -> str:
    """Return a cell: score, interval and place, and published scores below."""
    parts = [run_text(cell, column, rank)] if cell.shown else ["not run"]
    for one in beside(cell, column):
        within = {True: ", within", False: ", outside", None: ""}[one.within]
        difference = "" if one.difference is None else f": {one.difference}{within}"
        parts.append(f"published {one.value} ({literal(one.source)}){difference}")
    return "<br>".join(parts)


def run_text(cell: Cell, column: Column, rank: Rank | None) -> str:
    """Return the score of a cell that was run."""
    shown, metric = cell.shown, column.record
    assert shown is not None
    assert metric is not None
    ends = "no interval"
    if shown.low is not None and shown.high is not None:
        ends = f"{metric.written(shown.low)} to {metric.written(shown.high)}"
    place = f", place {rank.written}" if rank else ""
    seeds = f", {counted(len(shown.by_seed), 'seed')}" if len(shown.by_seed) > 1 else ""
    return f"**{metric.written(shown.value)}** ({ends}{place}{seeds})"


def literal(text: str) -> str:
    """Return text that Markdown and HTML show as it is, in one line."""
    return MEANT.sub(r"\\\1", html.escape(one_line(text), quote=False))
