"""Places in a column, with ties: upstreams whose intervals overlap cannot be told apart by them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from downstream.leaderboards.board import Cell, Column, Row, Section, departs


@dataclass(frozen=True)
class Rank:
    """The place of a cell in its column.

    place: one more than the number of upstreams whose whole interval is better. tied: True where another one has it.
    """

    place: int
    tied: bool

    @property
    def written(self) -> str:
        """The place, "2" or, of a tie, "2=", as tables of results have it."""
        return f"{self.place}=" if self.tied else str(self.place)


def ranks_of(section: Section, column: Column) -> dict[Row, Rank]:
    """Return the place of each upstream in a column.

    Controls have none, nor have scores without an interval, nor those that alone left the protocol of the column.

    An upstream is behind another one where no point of its interval is as good as any of the other's. So upstreams of
    one place always overlap: whatever is better than the better of two disjoint intervals is better than the other
    one too, which then has a later place.
    """
    ends = {row: spans for row, cell in section.of_column(column) if (spans := ends_of(row, column, cell)) is not None}
    places = {
        row: 1 + sum(is_better(other, own, column.higher_is_better) for other in ends.values())
        for row, own in ends.items()
    }
    shared = Counter(places.values())
    return {row: Rank(place, shared[place] > 1) for row, place in places.items()}


def ends_of(row: Row, column: Column, cell: Cell) -> tuple[float, float] | None:
    """Return the ends of a score's interval; None where it has no place."""
    shown = cell.shown
    if row.is_control or shown is None or shown.low is None or shown.high is None:
        return None
    if not column.departs and departs(shown.runs[0].result):
        return None
    return shown.low, shown.high


def is_better(one: tuple[float, float], other: tuple[float, float], higher_is_better: bool) -> bool:
    """Return True where the whole of one interval is better than the whole of another."""
    return one[0] > other[1] if higher_is_better else one[1] < other[0]
