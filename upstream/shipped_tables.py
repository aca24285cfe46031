"""Tables that come with the harness as CSV files, whose first line names the columns."""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table, column -> cell."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words_of_cell(row: dict[str, str], column: str) -> tuple[str, ...]:
    """Return the names in a cell that holds several, with spaces between them."""
    return tuple(row[column].split())


def row_of_name(path: Path, name: str) -> dict[str, str] | None:
    """Return the first line whose column "names" has a pattern for a name, in any spelling of it; None where none has.

    Capitals do not matter, a dash is an underscore, and + is _plus: "PASE+" is found as pase_plus.
    """
    wanted = as_in_python(name)
    for row in read_rows(path):
        if any(fnmatchcase(wanted, as_in_python(pattern)) for pattern in words_of_cell(row, "names")):
            return row
    return None


def as_in_python(name: str) -> str:
    """Return a name as it is spelled in Python, "speech_commands" of "Speech-Commands"."""
    return name.casefold().replace("-", "_").replace("+", "_plus")
