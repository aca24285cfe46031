"""Which recordings a folder has states of: index.csv when all is done, and lists that each process keeps until then."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.unfinished import is_abandoned, lock_kept

INDEX = "index.csv"
LIST = "unfinished-{}.jsonl"
COLUMNS = ("id", "file", "path", "start", "duration", "channel", "seconds", "frames", "bytes", "digest")

Row = dict[str, Any]
"""The line of a recording in the index, by COLUMNS."""


def known_rows(folder: Path) -> dict[str, Row]:
    """Return the rows of all recordings whose states are in the folder, by id; a file of another size is none."""
    rows = [*read_index(folder), *(row for path in lists_in(folder) for row in read_list(path))]
    sizes: dict[str, int | None] = {}
    for row in rows:
        file = row["file"]
        if file not in sizes:
            with contextlib.suppress(OSError):
                sizes[file] = os.stat(folder / file).st_size
    return {row["id"]: row for row in rows if sizes.get(row["file"]) == row["bytes"]}


def read_index(folder: Path) -> list[Row]:
    """Return the rows of index.csv; none where it is not there."""
    path = folder / INDEX
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        found = [row for row in csv.DictReader(stream) if set(COLUMNS) <= row.keys()]
    numbers = {"start": float, "duration": float, "channel": int, "seconds": float, "frames": int, "bytes": int}
    try:
        return [
            {key: (numbers[key](value) if value else None) if key in numbers else value for key, value in row.items()}
            for row in found
        ]
    except ValueError as error:
        raise UserError(f"{path} was altered ({error}); remove it, and the folder is filled again.") from error


def write_index(folder: Path, rows: Iterable[Row]) -> None:
    """Write index.csv, a line a recording; raises UserError where that is not possible."""
    stream = io.StringIO(newline="")
    table = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows({key: "" if row[key] is None else row[key] for key in COLUMNS} for row in rows)
    write_atomically(folder / INDEX, stream.getvalue().encode())


# ---------------------------------------------------------------- lists of unfinished extractions


def lists_in(folder: Path) -> list[Path]:
    """Return the lists that processes left, or still keep."""
    return sorted(folder.glob(LIST.format("*")))


def read_list(path: Path) -> Iterator[Row]:
    """Yield the rows of a list; one that a killed process did not finish is left out."""
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and set(COLUMNS) <= row.keys():
                yield row


@contextlib.contextmanager
def own_list(folder: Path) -> Iterator[IO[bytes]]:
    """Open a list of this process, locked as long as it is open; it is removed at the end, but for an error."""
    path = folder / LIST.format(uuid.uuid4().hex)
    with path.open("xb", buffering=0) as stream, lock_kept(stream.fileno()):
        yield stream
    path.unlink(missing_ok=True)


def note(stream: IO[bytes], rows: Sequence[Row]) -> None:
    """Add rows to a list."""
    stream.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def remove_lists(folder: Path) -> None:
    """Remove the lists of processes that have ended, when the index has their rows."""
    for path in filter(is_abandoned, lists_in(folder)):
        path.unlink(missing_ok=True)
