"""The columns of a table in Python: a pandas DataFrame, a list of dicts, a datasets.Dataset or DatasetDict.

Columns are taken whole, since a hundred thousand rows one by one take minutes. Neither pandas nor datasets is imported
for what is not theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from downstream.data.corpora.row_audio import RowAudio
from upstream.errors import UserError

AUDIO = "audio"
ACCEPTED = "a pandas DataFrame, a list of dicts, or a datasets.Dataset or DatasetDict"

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True)
class TableColumns:
    """The cells of a table by column, and what its rows are called in messages.

    kind: what it is, "DataFrame". columns: of each name, a cell for every row; None for what is not given.
    index: of a DataFrame. labels: of rows that are called otherwise than by their number, which counts from 0.
    title, licence: of the data, where the table says so; "" otherwise.
    notes: sentences on what was not read.
    """

    kind: str
    columns: Columns
    count: int
    index: Sequence[object] | None = None
    labels: Sequence[str] | None = None
    title: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()

    def label(self, row: int) -> str:
        """What a row is called, "row 3"."""
        return f"row {row}" if self.labels is None else self.labels[row]

    def where(self, row: int) -> str:
        """What a row is called in messages, "row 3 of the DataFrame"."""
        is_numbered = self.index is None or self.index[row] == row
        index = "" if self.index is None or is_numbered else f" (index {self.index[row]!r})"
        return f"{self.label(row)}{index} of the {self.kind}"


def columns_of(content: Any) -> TableColumns:
    """Return the columns of a table; raise UserError for what is none, or has columns without names of their own."""
    if is_a(content, "pandas", "DataFrame"):
        return of_data_frame(content)
    if is_a(content, "datasets", "Dataset"):
        return of_dataset(content)
    if is_a(content, "datasets", "DatasetDict"):
        return of_dataset_dict(content)
    if any(is_a(content, "datasets", name) for name in ("IterableDataset", "IterableDatasetDict")):
        raise UserError(
            f"corpus is a {type(content).__name__}, which gives its rows once and in turn, where a run comes back to "
            "them. Load the data with streaming=False, or collect it: datasets.Dataset.from_generator."
        )
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        return of_rows(content)
    if isinstance(content, Mapping):
        hint = " Of a dict of columns make one: pandas.DataFrame(columns)."
    elif hasattr(content, "to_pandas"):
        hint = " Make one: corpus=TABLE.to_pandas()."
    else:
        hint = " Of a path: data=PATH and corpus='manifest'." if hasattr(content, "__fspath__") else ""
    kind = type(content)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    raise UserError(f"corpus is a {name}; give the name of a corpus or a table, which is {ACCEPTED}.{hint}")


def is_a(content: object, library: str, name: str) -> bool:
    """Return True if something is of a library's class; if it is, its library has been imported."""
    module = sys.modules.get(library)
    return module is not None and isinstance(content, getattr(module, name, ()))


# ---------------------------------------------------------------- lists of dicts


def of_rows(rows: Sequence[object]) -> TableColumns:
    """The columns of a list of dicts, whose keys may differ; a key that is not there is not given."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise UserError(
                f"corpus is a list whose row {number} is a {type(row).__name__}; make each row a dict, such as "
                "{'path': 'a.wav', 'speaker': 'ann', 'label': 'yes'}."
            )
    names: dict[Any, None] = dict.fromkeys(chain.from_iterable(rows))  # type: ignore[arg-type]
    columns = {name: [row.get(name) for row in rows] for name in names}  # type: ignore[attr-defined]
    return TableColumns("list", named(columns), len(rows))


# ---------------------------------------------------------------- pandas


def of_data_frame(frame: Any) -> TableColumns:
    """The columns of a DataFrame; what pandas has as missing is not given."""
    if frame.columns.nlevels > 1:
        raise UserError(
            "The DataFrame has a MultiIndex for columns; give each column one name: "
            'frame.columns = ["_".join(levels) for levels in frame.columns].'
        )
    repeated = list(frame.columns[frame.columns.duplicated()])
    if repeated:
        raise UserError(f"The DataFrame has more than one column {repeated[0]!r}; rename or remove one.")
    inside = [name for name in frame.index.names if name in ("path", AUDIO) and name not in frame.columns]
    if inside:
        raise UserError(f"The DataFrame has {inside[0]} as its index; make it a column: frame.reset_index().")
    columns = {}
    for name in frame.columns:
        cells = frame[name].astype(object)
        columns[name] = cells.where(cells.notna(), None).tolist()
    return TableColumns("DataFrame", named(columns), len(frame), frame.index.tolist())


# ---------------------------------------------------------------- datasets


def of_dataset(dataset: Any, kind: str = "Dataset") -> TableColumns:
    """The columns of a datasets.Dataset: classes by their names, encoded audio, read when it is decoded."""
    import datasets

    columns: Columns = {}
    nested = []
    audio = audio_column(dataset)
    for name, feature in dataset.features.items():
        if name == audio:
            columns[AUDIO] = list(audio_cells(dataset, name, kind))
        elif isinstance(feature, datasets.ClassLabel):
            columns[name] = class_names(feature, plain(dataset, name)[name][:])
        elif isinstance(feature, datasets.Value) and "binary" not in feature.dtype:
            columns[name] = plain(dataset, name)[name][:]
        else:
            nested.append(name)
    info = dataset.info
    title = "" if info.dataset_name == info.builder_name else info.dataset_name  # those of a format, such as csv
    notes = (f"Columns that hold no single text or number were not read: {', '.join(nested)}.",) if nested else ()
    return TableColumns(kind, named(columns), len(dataset), title=title or "", licence=info.license or "", notes=notes)


def audio_column(dataset: Any) -> str | None:
    """The column of recordings: `audio`, or the only one that datasets has as audio; None where there is none."""
    import datasets

    found = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Audio)]
    if AUDIO in dataset.features:
        return AUDIO
    if len(found) > 1:
        raise UserError(f"The Dataset has several columns of recordings ({', '.join(found)}); call the one audio.")
    return found[0] if found else None


def plain(dataset: Any, *columns: str) -> Any:
    """A Dataset with some of its columns alone, as Python has them, whatever format was set."""
    return dataset.with_format(None).select_columns(list(columns))


def class_names(feature: Any, numbers: Sequence[int | None]) -> list[str | None]:
    """The names of classes; a number below 0 is none, as in test sets without labels."""
    return [None if number is None or number < 0 else feature.names[number] for number in numbers]


def audio_cells(dataset: Any, column: str, kind: str) -> Iterator[object]:
    """Yield the paths of recordings in files, and of others where their row is, from which they are read later."""
    import datasets

    feature = dataset.features[column]
    if isinstance(feature, datasets.Value) and "string" in feature.dtype:
        yield from plain(dataset, column)[column][:]
    elif isinstance(feature, datasets.Audio | datasets.Value) or (isinstance(feature, dict) and "bytes" in feature):
        rows = plain(dataset, column).cast_column(column, datasets.Audio(decode=False))
        paths = rows.flatten().select_columns([f"{column}.path"])[f"{column}.path"][:]
        for row, (path, is_here) in enumerate(zip(paths, contents_are_here(rows, column), strict=True)):
            yield RowAudio(rows, row, column, path or f"row {row} of the {kind}", path=path) if is_here else path
    else:
        rows, samples = plain(dataset, column), type_of_samples(feature)
        for row in range(len(rows)):
            yield RowAudio(rows, row, column, f"row {row} of the {kind}", samples=samples)


def type_of_samples(feature: Any) -> str | None:
    """The type of numbers in lists of lists, or in a dict's `array`, "int16"; None for other things."""
    if isinstance(feature, dict):
        feature = feature.get("array")
    while hasattr(feature, "feature"):
        feature = feature.feature
    return getattr(feature, "dtype", None)


def contents_are_here(rows: Any, column: str) -> list[bool]:
    """True for each recording whose bytes are in its row; where all are, or none, no row is read for it."""
    contents = rows.flatten().data.column(f"{column}.bytes")
    if contents.null_count in (0, len(contents)):
        return [contents.null_count == 0] * len(rows)
    return [row[column] is not None and row[column]["bytes"] is not None for row in rows]


def of_dataset_dict(parts: Mapping[str, Any]) -> TableColumns:
    """The rows of all its parts, whose names are the splits where no column names them."""
    tables = {name: of_dataset(part, f"Dataset {name!r}") for name, part in parts.items()}
    names = dict.fromkeys(chain.from_iterable(table.columns for table in tables.values()))
    columns: Columns = {
        name: list(chain.from_iterable(table.columns.get(name, [None] * table.count) for table in tables.values()))
        for name in names
    }
    if "split" not in columns and len(tables) > 1:
        columns["split"] = list(chain.from_iterable([name] * table.count for name, table in tables.items()))
    first = next(iter(tables.values()), None)
    labels = [f"{name}[{row}]" for name, table in tables.items() for row in range(table.count)]
    return TableColumns(
        "DatasetDict",
        columns,
        len(labels),
        labels=labels,
        title=first.title if first else "",
        licence=first.licence if first else "",
        notes=tuple(dict.fromkeys(chain.from_iterable(table.notes for table in tables.values()))),
    )


# ---------------------------------------------------------------- names


def named(columns: Mapping[Any, Sequence[Any]]) -> Columns:
    """Return the columns by their names without blanks around them; raise UserError where names are none, or equal."""
    found: Columns = {}
    for name, cells in columns.items():
        if not isinstance(name, str) or not name.strip():
            raise UserError(
                f"The table has a column {name!r}, whose name is no text; name the columns, such as path, speaker, "
                "label, text."
            )
        if name.strip() in found:
            raise UserError(f"The table has more than one column {name.strip()!r}; rename or remove one.")
        found[name.strip()] = cells
    return found
