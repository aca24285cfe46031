"""Own recordings from Python: a table with the columns of a manifest, whose audio may be in memory."""

from __future__ import annotations

import math
import numbers
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from downstream.data.audio import AudioFile, Recording
from downstream.data.corpora.cards import TABLE as CARD
from downstream.data.corpora.csv_table import other_capitals, taken_for
from downstream.data.corpora.folder import existing_folder
from downstream.data.corpora.manifest import named_recording, speaker_note, utterance_of
from downstream.data.corpora.manifest_table import FIXED_COLUMNS, TIMES, column_notes, meaning, refuse_two_ends
from downstream.data.corpora.row_audio import RowAudio, is_reference, memory_audio
from downstream.data.corpora.table_columns import AUDIO, TableColumns, columns_of
from downstream.data.corpus import Corpus, Utterance
from downstream.data.garbage_collection import garbage_collection_paused
from upstream.errors import UserError
from upstream.text import counted

if TYPE_CHECKING:
    import datasets
    import pandas

Table: TypeAlias = "pandas.DataFrame | datasets.Dataset | datasets.DatasetDict | Sequence[Mapping[str, object]]"
"""A corpus in Python, which is looked at when it is there; neither library is imported for what is not its own."""

RATE = "sampling_rate"
MISSING = ("NAType", "NaTType")  # of pandas, which may stand in a list too
IN_MEMORY = "memory"  # where a corpus is that no folder belongs to


@garbage_collection_paused()
def corpus_of(content: Table, folder: Path | None = None, title: str | None = None) -> Corpus:
    """Return a table as a corpus.

    content: a DataFrame, a list of dicts, a Dataset or a DatasetDict, with the columns of a manifest (see `manifest`),
        and `audio` beside or in place of `path`: paths, bytes, samples, or what datasets has as audio (see
        `row_audio`). Numbers are read as text; None, NaN and "" mean "not given".
    folder: from which paths are relative; None for the working directory. title: for records.

    Raises UserError, with the row and the column, for what cannot be used.
    """
    table = with_known_names(columns_of(content))
    place = Path.cwd() if folder is None else existing_folder(folder)
    check_columns(table)
    texts, left = text_columns(table)
    recordings = Recordings(table, texts.get("path"), place)
    utterances = []
    for row, cells in enumerate(zip(*texts.values(), strict=True) if texts else [()] * table.count):
        name, recording = recordings.of(row)
        utterances.append(utterance_of(dict(zip(texts, cells, strict=True)), name, recording, table.where(row)))
    rows = f"{counted(table.count, 'row')} of a {table.kind}"
    return Corpus(
        name=CARD.name,
        title=str(title or (f"{table.title} ({rows})" if table.title else rows)),
        licence=table.licence or "not stated in the table",
        utterances=tuple(with_own_ids(utterances, table, texts.get("id"))),
        source=IN_MEMORY if folder is None else str(folder),
        notes=(*table.notes, *left, *column_notes(["path", *texts]), *speaker_note(utterances)),
    )


def with_known_names(table: TableColumns) -> TableColumns:
    """Return a table with the columns that a corpus has, whatever their capitals were, and a note on each."""
    meant = other_capitals(list(table.columns), (*FIXED_COLUMNS, AUDIO, RATE))
    columns = {meant.get(name, name): cells for name, cells in table.columns.items()}
    return replace(table, columns=columns, notes=(*table.notes, *taken_for(meant)))


def check_columns(table: TableColumns) -> None:
    """Raise UserError for a table that has no rows, no column of recordings, or two that end an utterance."""
    if not table.count:
        raise UserError(f"The {table.kind} has no rows; give one for each utterance.")
    if "path" not in table.columns and AUDIO not in table.columns:
        meant = [column for column in table.columns if meaning(column) == "path"]
        hint = f"If {meant[0]!r} names the recordings, call it path." if meant else "Name the recordings in one."
        raise UserError(
            f"The {table.kind} has no column path and none audio; found {', '.join(table.columns) or 'none'}. {hint}"
        )
    refuse_two_ends(table.columns, f"The {table.kind}")


# ---------------------------------------------------------------- text


def text_columns(table: TableColumns) -> tuple[dict[str, list[str]], list[str]]:
    """Return the cells of all columns but those of audio as text, and sentences on columns that were not read."""
    texts: dict[str, list[str]] = {}
    left = []
    for name, cells in table.columns.items():
        if name == AUDIO or (name == RATE and AUDIO in table.columns):
            continue
        column: list[str] = []
        try:
            column.extend(cell.strip() if isinstance(cell, str) else text_of(cell, name in TIMES) for cell in cells)
        except TypeError:
            row = len(column)  # those before it have been converted
            kind = type(cells[row]).__name__
            if name in FIXED_COLUMNS:
                raise UserError(f"{table.where(row)}: the {name} is a {kind}; give text or a number.") from None
            left.append(f"The column {name!r} was not read as labels: in {table.label(row)} it is a {kind}.")
        else:
            texts[name] = column
    return texts, left


def text_of(cell: object, is_time: bool) -> str:
    """Return a cell as text, "" where it is not given; whole numbers have no decimals where they are no time.

    pandas makes 1.0 of a class 1 where another cell of its column is missing. Raises TypeError for other things.
    """
    if is_missing(cell):
        return ""
    if isinstance(cell, numbers.Real) and not isinstance(cell, numbers.Integral) and not is_time:
        return str(cell).removesuffix(".0")
    if isinstance(cell, numbers.Real | np.bool_ | Decimal):
        return str(cell)
    if isinstance(cell, os.PathLike):
        return str(Path(cell))
    raise TypeError(type(cell))


def is_missing(cell: object) -> bool:
    """Return True for None and NaN, and for what pandas has in their place."""
    return cell is None or type(cell).__name__ in MISSING or (isinstance(cell, numbers.Real) and math.isnan(cell))


# ---------------------------------------------------------------- audio


class Recordings:
    """The recordings of a table's rows."""

    def __init__(self, table: TableColumns, paths: Sequence[str] | None, folder: Path) -> None:
        self._table, self._paths, self._folder = table, paths, folder
        self._cells, self._rates = table.columns.get(AUDIO), table.columns.get(RATE)
        self._known: dict[tuple[int, str], Recording] = {}

    def of(self, row: int) -> tuple[str, Recording]:
        """Return what the recording of a row is called, and the recording; one for all rows that cut it.

        Raises UserError if the row has none, or one that cannot be used.
        """
        where = self._table.where(row)
        path = "" if self._paths is None else self._paths[row]
        cell = None if self._cells is None else self._cells[row]
        if isinstance(cell, Mapping) and is_reference(cell):
            cell = cell.get("path")
        if is_missing(cell) or isinstance(cell, str | os.PathLike):
            file = "" if is_missing(cell) else str(cell).strip()
            if not file and not path:
                raise UserError(f"{where}: neither path nor audio is given; name the recording or remove the row.")
            name, found = named_recording(file or path, self._folder, where)
            return (path or name) if file else name, AudioFile(found)
        rate = None if self._rates is None or is_missing(self._rates[row]) else self._rates[row]
        if isinstance(cell, RowAudio):
            return path or cell.path or self._table.label(row), replace(cell, rate=rate)
        own = cell.get("path") if isinstance(cell, Mapping) else None
        name = path or (str(own) if own else self._table.label(row))
        key = id(cell), repr(rate)
        if key not in self._known:
            self._known[key] = memory_audio(cell, rate, f"{name} ({where})" if own else where, where)
        return name, self._known[key]


def with_own_ids(utterances: Sequence[Utterance], table: TableColumns, ids: Sequence[str] | None) -> list[Utterance]:
    """Return utterances whose audio is in memory with ids of their own: many rows may call it audio.wav."""
    repeated = {name for name, count in Counter(u.id for u in utterances).items() if count > 1}
    return [
        replace(u, id=f"{u.id} ({table.label(row)})")
        if u.id in repeated and not (ids and ids[row]) and not isinstance(u.audio.recording, AudioFile)
        else u
        for row, u in enumerate(utterances)
    ]
