"""CSV files that users write, read with line numbers for messages: manifest.csv and segments.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from upstream.errors import UserError


def read_rows(path: Path, check_columns: Callable[[list[str]], None]) -> list[tuple[str, dict[str, str]]]:
    """("FILE, line N", stripped cells by column) of every line below the column names.

    check_columns: raises UserError for column names that the file cannot have.
    Raises UserError for a file that is not UTF-8 or not CSV, repeated columns, and lines with too few or many cells.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            columns = [column.strip() for column in rows.fieldnames or ()]
            check_columns(columns)
            repeated = sorted({column for column in columns if columns.count(column) > 1})
            if repeated:
                raise UserError(f"{path} has more than one column {repeated[0]!r}; rename or remove one.")
            rows.fieldnames = columns
            places = ((f"{path}, line {rows.line_num}", row) for row in rows)
            return [(where, checked_cells(row, where)) for where, row in places]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file ({error}); save it again as CSV with commas.") from error


def checked_cells(row: Mapping[str | None, str | list[str] | None], where: str) -> dict[str, str]:
    """The stripped cells of one line by column; raise UserError unless there are as many as columns."""
    if None in row or None in row.values():
        raise UserError(
            f"{where}: {'more' if None in row else 'fewer'} cells than there are columns; "
            "put a text that holds commas in double quotes."
        )
    return {str(column): str(cell).strip() for column, cell in row.items()}


def seconds(row: Mapping[str, str], column: str, where: str) -> float | None:
    """A time in seconds from one cell, 0 or more; None if the cell is empty or the column is missing."""
    cell = row.get(column, "")
    if not cell:
        return None
    try:
        time = float(cell)
    except ValueError:
        time = math.nan
    if not (math.isfinite(time) and time >= 0):
        raise UserError(f"{where}: the {column} is {cell!r}; write seconds, 0 or more, such as 1.25.")
    return time
