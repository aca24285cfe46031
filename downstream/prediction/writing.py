"""Answers to a file or to standard output: CSV, JSON lines, or an array of embeddings."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.text import printable

ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".json": "jsonl", ".npy": "npy"}
ARRAY = "npy"
EMBEDDING = "embedding"  # the column of what an array holds

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Place:
    """File of the answers, None for standard output, and their format."""

    file: Path | None
    form: str


def place_of_answers(to: Path | None, form: str | None, embeddings: bool) -> Place:
    """Return where answers go; the folder is made.

    form: as asked for; None for that of the file's ending. embeddings: True where rows have them.

    Raises UserError for an ending of no format, an array of anything but embeddings, and where no file can be written.
    """
    if to is not None and to.is_dir():
        raise UserError(f"{to} is a folder; name the file of the answers with --to, such as {to / 'answers.csv'}.")
    chosen = form or ("csv" if to is None else ENDINGS.get(to.suffix.lower()))
    if chosen is None:
        raise UserError(f"{to} ends in neither .csv nor .jsonl; say which one is wanted with --format.")
    if chosen == ARRAY and (to is None or not embeddings):
        raise UserError("An array is written of embeddings, into a file: --embeddings --to FILE.npy.")
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(to.parent, os.W_OK):  # said before hours of audio are encoded for it
            raise UserError(f"Nothing can be written into {to.parent}. Name another file with --to.")
    return Place(to, chosen)


def write_answers(rows: Rows, place: Place) -> None:
    """Write rows to their place; a file is whole or as it was."""
    if place.form == ARRAY:
        assert place.file is not None
        stream = io.BytesIO()
        np.save(stream, np.array([row[EMBEDDING] for row in rows], dtype=np.float32), allow_pickle=False)
        write_atomically(place.file, stream.getvalue())
        return
    ways: dict[str, Callable[[Rows], Iterator[str]]] = {"csv": as_csv, "jsonl": as_json_lines}
    lines = ways[place.form](rows)
    if place.file is None:
        sys.stdout.writelines(lines)
    else:
        write_atomically(place.file, *(line.encode() for line in lines))


def as_json_lines(rows: Rows) -> Iterator[str]:
    """Yield each row as a JSON object in a line."""
    for row in rows:
        yield printable(json.dumps(row, ensure_ascii=False)) + "\n"


def as_csv(rows: Rows) -> Iterator[str]:
    """Yield a line of column names and a line for each row; all rows have the columns of the first one."""
    columns: list[str] = []
    for row in map(flattened, rows):
        if not columns:
            columns = list(row)
            yield csv_line(columns)
        yield csv_line([row.get(name, "") for name in columns])


def flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of plain values: of an object a column a key ("posteriors.happy"), a list as JSON text."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in flattened(value).items()}
        else:
            flat[name] = json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value
    return flat


def csv_line(values: Iterable[object]) -> str:
    """Return one line of CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([printable(str(value)) for value in values])
    return stream.getvalue()
