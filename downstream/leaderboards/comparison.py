"""A reproduced score beside a published one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from downstream.leaderboards.board import Cell, Column
from downstream.report import ReferenceScore, distance

# Of "Chen et al. 2021: WavLM, preprint of October 2021, SUPERB table (https://…)" the last words before the table.
SHORT = re.compile(r"^[^:]*: *(?:.*, *)?(?P<words>[^,(]+), *\w+ table\b")


@dataclass(frozen=True)
class Beside:
    """A published score and, where it was reproduced, the difference.

    value, difference: as the score is written, in percent or in the metric's own unit; difference: reproduced minus
        published. within: True where the published score lies in the interval of the reproduced one; None where there
        is none.
    """

    score: ReferenceScore
    value: str
    source: str
    difference: str | None
    within: bool | None


def beside(cell: Cell, column: Column) -> list[Beside]:
    """Return the published scores of a cell, of each source, beside the reproduced one."""
    return [compared(cell, column, score) for score in cell.published]


def compared(cell: Cell, column: Column, score: ReferenceScore) -> Beside:
    """Return a published score beside the one of a cell."""
    written, source = published_value(score), source_of(score)
    shown, metric = cell.shown, column.record
    if shown is None or metric is None:
        return Beside(score, written, source, None, None)
    difference, within = distance(shown.value, (shown.low, shown.high), metric, score)
    digits = 2 if metric.percent else 4
    return Beside(score, written, source, f"{difference:+.{digits}f}", within)


def published_value(score: ReferenceScore) -> str:
    """Return the printed number, with as many digits as tables print."""
    if score.unit == "percent":
        return f"{score.value:.2f}"
    return f"{score.value:.4f}" if score.value >= 0.001 else f"{score.value:g}"


def source_of(score: ReferenceScore) -> str:
    """Return the short name of a source, "preprint of October 2021"; the whole source where it has another form."""
    found = SHORT.match(score.source)
    return found["words"] if found else score.source
