"""SUPERB's overall score below its table: of what was run and what was published, or why there is none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from downstream.leaderboards.board import PUBLISHED, Row, Section, reference_scores
from downstream.leaderboards.labels import row_labels
from downstream.report import Cell, cells_of, overall_score


def overall_lines(section: Section) -> list[str]:
    """Return sentences on the overall score of the rows of SUPERB's table; none for another table."""
    return [*of_runs(section), *of_published(section)] if section.protocol == PUBLISHED else []


def of_runs(section: Section) -> Iterator[str]:
    """Yield the overall score of every upstream that was run, or why it has none; those with one reason together."""
    labels, said = row_labels(section), defaultdict[str, list[str]](list)
    for row in section.rows:
        if row.asked is not None:
            said[overall_score(own_cells(section, row), reference_scores()).sentence].append(labels[row].text)
    for sentence, names in said.items():
        yield f"Overall score of {', '.join(names)}: {sentence}"


def own_cells(section: Section, row: Row) -> dict[Cell, float]:
    """Return the scores of an upstream that the overall score is made of, as the table shows them, in percent."""
    found: dict[Cell, float] = {}
    for column in section.columns:
        shown = section.cell(row, column).shown
        if shown is None or column.published_as is None:
            continue
        own = cells_of([shown.runs[0].result])
        primary = (column.task, column.published_as)
        found |= own | ({primary: 100 * shown.value} if primary in own else {})
    return found


def of_published(section: Section) -> Iterator[str]:
    """Yield the overall scores of the published rows that have every task, by the same formula."""
    values: dict[str, float] = {}
    table = overall_score({}, reference_scores()).table
    for name in dict.fromkeys(score.upstream for score in reference_scores()):
        own = {
            (score.task, score.metric): score.percent
            for score in reference_scores()
            if (score.upstream, score.table) == (name, table)
        }
        if (overall := overall_score(own, reference_scores())).value is not None:
            values[name] = overall.value
    if values:
        best_first = sorted(values, key=lambda name: -values[name])
        listed = ", ".join(f"{name} {values[name]:.1f}" for name in best_first)
        yield (
            f"Overall scores of the published rows, by the same formula (0 is FBANK, 1000 the best of {table} in every "
            f"task): {listed}."
        )
