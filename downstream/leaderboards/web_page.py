"""The leaderboard as one self-contained page of HTML: no server, no network, and nothing of a record is carried out.

The template, the style and the script lie in page/. Style and script are named by their digests in the page's content
security policy, which forbids every other one, and everything from outside.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from downstream.leaderboards.board import Board, Column, Row, Section, fullest
from downstream.leaderboards.cell_view import CellView, cell_views
from downstream.leaderboards.labels import ColumnLabel, RowLabel, column_labels, row_labels
from downstream.leaderboards.overall import overall_lines
from downstream.leaderboards.ranks import ranks_of
from downstream.leaderboards.words import PROTOCOLS, RULES, protocol_title, unread
from upstream.text import counted

PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class ColumnView:
    """A column with its words, and its views of the cells by row."""

    column: Column
    label: ColumnLabel
    chance: str
    views: dict[Row, CellView]


@dataclass(frozen=True)
class SectionView:
    """A table of the page.

    sorted_by: the column that its rows are sorted by. overall: sentences on SUPERB's overall score.
    """

    protocol: str
    title: str
    words: str
    was_run: bool
    columns: tuple[ColumnView, ...]
    rows: tuple[tuple[Row, RowLabel], ...]
    sorted_by: Column | None
    overall: tuple[str, ...]


def page_of(board: Board, title: str) -> str:
    """Return the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = ((PAGE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    sections = [section_view(section) for section in board.sections]
    return environment.get_template("page.html").render(
        title=title,
        summary=summary(board),
        sections=sections,
        filters=filters(sections),
        refused=[unread(one) for one in board.refused],
        rules=RULES,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none'; "
        "form-action 'none'",
    )


def digest(text: str) -> str:
    """Return the source of a content security policy for the text of an element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def section_view(section: Section) -> SectionView:
    """Return a table as the page shows it."""
    labels, rows = column_labels(section), row_labels(section)
    columns = [
        ColumnView(
            column, labels[column], chance_of(column), cell_views(section, column, ranks_of(section, column), rows)
        )
        for column in section.columns
    ]
    return SectionView(
        section.protocol,
        protocol_title(section.protocol),
        PROTOCOLS.get(section.protocol, ""),
        section.was_run,
        tuple(columns),
        tuple((row, rows[row]) for row in section.rows),
        fullest(section),
        tuple(overall_lines(section)),
    )


def chance_of(column: Column) -> str:
    """Return the chance level of a column; nothing where no record says it."""
    if column.first is None or column.record is None:
        return ""
    return f"chance {column.record.written(column.first.chance)}"


def filters(sections: list[SectionView]) -> dict[str, list[tuple[str, str]]]:
    """Return what each filter can choose: values and words."""
    columns = [view for section in sections for view in section.columns]
    corpora = sorted({view.label.corpus for view in columns} - {""})
    return {
        "protocol": [(section.protocol, section.title) for section in sections],
        "task": [(task, task) for task in sorted({view.label.task for view in columns})],
        "corpus": [(corpus, corpus) for corpus in corpora],
        "upstream": [
            (name, name) for name in sorted({label.name for section in sections for _, label in section.rows})
        ],
    }


def summary(board: Board) -> str:
    """Return how much there is."""
    records = [run.result for run in board.records]
    if not records:
        return "No records yet: wavprobe run writes one for each upstream and recipe."
    said = (
        f"{counted(len(records), 'record')} of {counted(len({one.upstream.name for one in records}), 'upstream')} on "
        f"{counted(len({one.recipe.name for one in records}), 'recipe')}"
    )
    copies = f"; {counted(board.copies, 'copy', 'copies')} of them left out" if board.copies else ""
    refused = f"; {counted(len(board.refused), 'record was', 'records were')} refused" if board.refused else ""
    return f"{said}{copies}{refused}."
