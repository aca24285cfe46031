"""Tables that come with the harness as CSV files, whose first line names the columns."""

from __future__ import annotations

import csv
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table, column -> cell."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words_of_cell(row: dict[str, str], column: str) -> tuple[str, ...]:
    """Return the names in a cell that holds several, with spaces between them."""
    return tuple(row[column].split())
