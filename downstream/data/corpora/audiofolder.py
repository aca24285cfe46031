"""metadata.csv and metadata.jsonl, with which the hub's audio folders describe their recordings.

`file_name` is the path, relative to the file; all other columns are the writer's own. There is one file for all, or one
in each of the folders train, validation and test (https://huggingface.co/docs/datasets/audio_dataset).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from downstream.data.corpora.csv_table import Table, read_table
from downstream.data.corpora.files import folders_in
from downstream.data.corpora.manifest_table import (
    FIXED_COLUMNS,
    SYNONYMS,
    TIMES,
    check_columns,
    is_split,
    plain_name,
    renamed,
)
from downstream.data.text_files import read_lines
from upstream.errors import UserError
from upstream.json_file import parse_json

FILE_NAMES = ("metadata.csv", "metadata.jsonl")


def metadata_files(folder: Path) -> list[Path]:
    """The metadata files of an audio folder: in it, or else in the folders right below."""
    for places in ([folder], folders_in(folder)):
        found = [place / name for place in places for name in FILE_NAMES if (place / name).is_file()]
        if found:
            return found
    return []


def read_metadata(files: list[Path], folder: Path) -> Table:
    """The lines of metadata files as those of a manifest.csv in `folder`; notes say what was taken for what.

    Folders train, validation and test that all recordings lie in are their parts, where no column names these.
    Raises UserError for malformed lines, and for a file without a column of paths.
    """
    tables = [with_place(read_file(path), path.parent.relative_to(folder)) for path in files]
    columns = tuple(dict.fromkeys(column for table in tables for column in table.columns))
    rows = tuple(row for table in tables for row in table.rows)
    return Table(columns, rows, tuple(dict.fromkeys(note for table in tables for note in table.notes)))


def read_file(path: Path) -> Table:
    """One metadata file, with the names of a manifest's columns where it has others for them."""

    def check(columns: list[str]) -> None:
        check_columns(columns, path)

    table = (
        read_json_lines(path)
        if path.suffix == ".jsonl"
        else read_table(path, check, numbers=TIMES, known=FIXED_COLUMNS)
    )
    check(list(table.columns))
    meant = {column: SYNONYMS.get(plain_name(column)) for column in table.columns if column not in FIXED_COLUMNS}
    names: dict[str, str] = {}
    for column, name in meant.items():
        if name is not None and name not in (*table.columns, *names.values(), *TIMES):
            names[column] = name
    return renamed(table, names)


def with_place(table: Table, place: Path) -> Table:
    """The table with paths from the corpus's folder on, and with the parts that these begin with.

    place: the file's folder, from the corpus's. Parts are told by the paths only if all begin with one.
    """
    rows = [
        (where, row | ({"path": (place / row["path"]).as_posix()} if row["path"] else {})) for where, row in table.rows
    ]
    parts = [Path(row["path"]).parts for _, row in rows]
    if "split" in table.columns or not all(len(own) > 1 and is_split(own[0]) for own in parts):
        return replace(table, rows=tuple(rows))
    divided = tuple((where, row | {"split": own[0]}) for (where, row), own in zip(rows, parts, strict=True))
    return replace(table, columns=(*table.columns, "split"), rows=divided)


def read_json_lines(path: Path) -> Table:
    """A file with an object a line, as a table of text; values that are lists or objects are left out, with a note."""
    rows = []
    nested: set[str] = set()
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        content = parse_json(line, where)
        if not isinstance(content, dict):
            raise UserError(
                f"{where} is no object in braces; write one a line, with file_name and what is known of it."
            )
        nested |= {name for name, value in content.items() if isinstance(value, dict | list)}
        rows.append((where, {name: cell_of(value) for name, value in content.items() if name not in nested}))
    columns = tuple(dict.fromkeys(name for _, row in rows for name in row))
    filled = tuple((where, dict.fromkeys(columns, "") | row) for where, row in rows)
    notes = [f"{', '.join(sorted(nested))} of {path.name} holds lists or objects, and was not read."] if nested else []
    return Table(columns, filled, tuple(notes))


def cell_of(value: Any) -> str:
    """A value of JSON as a table's cell."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value).strip()
