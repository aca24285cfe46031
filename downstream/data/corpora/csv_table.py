"""Tables of cells in text: manifest.csv and segments.csv, which users write, and the tables that corpora ship."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.data.text_files import read_text
from upstream.errors import UserError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
DECLARATION = re.compile("sep=(.)\n?")  # a first line that Excel writes
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
QUOTED = re.compile('"[^"]*"')

# What the csv module says, and what the writer of the file can do about it.
FAULTS = {
    "unexpected end of data": 'the double quote that begins a cell here is never closed; remove it, or put one (") '
    "behind the cell's text",
    "expected after": "there is text behind a closing double quote; write each double quote within a quoted text twice",
    "larger than field limit": "a cell is longer than 131,072 characters; a double quote before it may be unclosed, "
    "else shorten it",
}


@dataclass(frozen=True)
class Table:
    """A table as read.

    columns: the names in its first line, without empty ones.
    rows: ("FILE, line N", stripped cells by column) of every line below that is not empty.
    notes: sentences on how the file differs from cells that are separated by commas.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, dict[str, str]], ...]
    notes: tuple[str, ...] = ()


def read_table(
    path: Path,
    check_columns: Callable[[list[str]], None],
    tolerant: bool = False,
    numbers: Collection[str] = (),
    known: Collection[str] = (),
) -> Table:
    """Read a file of cells between commas, semicolons, tabs or bars; its first line names the columns.

    check_columns: raises UserError for column names that the file cannot have.
    numbers: columns of numbers. Between semicolons a comma in them is a decimal comma, as spreadsheets write it in
        many countries, and becomes a point.
    known: columns that are found whatever their capitals, with a note.
    tolerant: bytes that are not UTF-8 are escaped, and missing cells are empty; for tables that corpora ship.

    Raises UserError, with the line's number, for a file that is not text in UTF-8 or not CSV, repeated columns, and
    lines with too few or too many cells.
    """
    text = read_text(path, tolerant)
    declared = DECLARATION.match(text)
    delimiter = declared[1] if declared else delimiter_of(text.partition("\n")[0])
    lines = records(text, path, delimiter)
    if declared:
        next(lines)
    written = [name.strip() for name in next(lines, (0, []))[1]]
    meant = other_capitals(written, known)
    names = [meant.get(name, name) for name in written]
    columns = tuple(name for name in names if name)
    check_columns(list(columns))
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise UserError(f"{path} has more than one column {repeated[0]!r}; rename or remove one.")
    rows = []
    unnamed = False
    for number, cells in lines:
        where = f"{path}, line {number}"
        stripped = fitted([cell.strip() for cell in cells], names, delimiter, where, tolerant)
        unnamed |= any(cell and not name for name, cell in zip(names, stripped, strict=True))
        if any(stripped):
            row = {name: cell for name, cell in zip(names, stripped, strict=True) if name}
            row |= {name: with_point(row[name]) for name in numbers if delimiter == ";" and name in row}
            rows.append((where, row))
    notes = [] if delimiter == "," else [f"The cells of {path.name} are separated by {in_words(delimiter)}."]
    if unnamed:
        notes.append(f"A column of {path.name} has no name and was not read.")
    return Table(columns, tuple(rows), (*notes, *taken_for(meant)))


def other_capitals(names: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Return the names that are those of known columns but for capitals, "Speaker", where these are not there too."""
    small = {name: name.lower() for name in names if name not in known and name.lower() in known}
    return {name: meant for name, meant in small.items() if [*names, *small.values()].count(meant) == 1}


def taken_for(names: Mapping[str, str]) -> list[str]:
    """Return a sentence on each column that was taken for another one."""
    return [f"The column {column!r} was taken for the column {name}." for column, name in names.items()]


def with_point(cell: str) -> str:
    """Return a number with a decimal point in place of its decimal comma; any other cell as it is."""
    number = cell.replace(",", ".")
    return number if NUMBER.fullmatch(number) else cell


def delimiter_of(header: str) -> str:
    """Return the delimiter that stands most often in the line of column names; a comma where none does."""
    names = QUOTED.sub("", header)
    return max(DELIMITERS, key=names.count)


def in_words(delimiter: str) -> str:
    """Return what stands between cells, "commas"."""
    return DELIMITERS.get(delimiter, repr(delimiter))


def records(text: str, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of its first line, and the cells, of every record that is not a blank line.

    Raises UserError, with the line, for text that is no CSV and for a quote that spans lines.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = next((mend for said, mend in FAULTS.items() if said in str(error)), f"it is no CSV ({error})")
            raise UserError(f"{path}, line {number}: {fault}.") from error
        columns = columns or len(cells)
        if columns > 1 and any(holds_lines(cell, delimiter, columns) for cell in cells):
            raise UserError(
                f"{path}, line {number}: the double quote that begins a cell here is closed in line {reader.line_num}, "
                "so that the lines between are no lines of the table. Remove the quotes, or write the text in one line."
            )
        if cells:
            yield number, cells


def holds_lines(cell: str, delimiter: str, columns: int) -> bool:
    """Return whether a cell of several lines holds as many delimiters as if these were lines of the table."""
    return "\n" in cell and cell.count(delimiter) == cell.count("\n") * (columns - 1)


def fitted(cells: list[str], columns: Sequence[str], delimiter: str, where: str, tolerant: bool) -> list[str]:
    """Return as many cells as columns; raise UserError where there are others, empty ones at the end aside."""
    count = len(columns)
    if any(cells[count:]) or (len(cells) < count and any(cells) and not tolerant):
        raise UserError(
            f"{where}: {'more' if len(cells) > count else 'fewer'} cells than there are columns; "
            f"put a text that holds {in_words(delimiter)} in double quotes."
        )
    return cells[:count] + [""] * (count - len(cells))


def seconds(row: Mapping[str, str], column: str, where: str) -> float | None:
    """A time in seconds from one cell, 0 or more; None if the cell is empty or the column is missing.

    Raises UserError for what is no time.
    """
    cell = row.get(column, "")
    if not cell:
        return None
    time = float(cell) if NUMBER.fullmatch(cell) else math.nan
    if not (math.isfinite(time) and time >= 0):
        raise UserError(f"{where}: the {column} is {cell!r}; write seconds, 0 or more, such as 1.25.")
    return time
