"""The table of a manifest.csv: its columns, and the names that other tools give to them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from downstream.data.corpora.csv_table import Table, read_table, taken_for
from upstream.errors import UserError
from upstream.nearest import nearest

TIMES = ("start", "end", "stop", "duration")
FIXED_COLUMNS = ("path", "speaker", "text", "split", *TIMES, "channel", "id", "group", "gender")

# Names that other tools give to the columns above, without capitals, blanks and underscores.
SYNONYMS = {
    **dict.fromkeys(("speakerid", "spk", "spkid", "talker", "clientid"), "speaker"),
    **dict.fromkeys(("transcript", "transcription", "sentence"), "text"),
    **dict.fromkeys(("begin", "starttime", "begintime", "offset", "onset", "tmin", "xmin"), "start"),
    **dict.fromkeys(("endtime", "stoptime", "tmax", "xmax"), "end"),
    **dict.fromkeys(("dur", "length", "seconds"), "duration"),
    **dict.fromkeys(("file", "filename", "filepath", "wav", "audio", "audiopath"), "path"),
    **dict.fromkeys(("subset", "partition", "set"), "split"),
    **dict.fromkeys(("uttid", "utteranceid", "utterance", "segmentid"), "id"),
    **{"chan": "channel", "sex": "gender", "session": "group"},
}
# Units that other tools put behind the name of a time: start_sec, end_ms, begin_sample.
UNIT = re.compile(r"(?<=[a-z])[\W_]+(s|secs?|seconds?|ms|msecs?|milliseconds?|samples?|frames?)[\W_]*$")

SPLIT_NAMES = {
    "train": "train",
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    "test": "test",
    **{"training": "train", "testing": "test"},
}

FIRST_LINE = "Its first line must name the columns, for instance path,speaker,label,text."


def read_manifest_table(path: Path) -> Table:
    """Read a manifest.csv, whatever its column path is called if it has one; notes say what was taken for what.

    Raises UserError as `read_table` does, and for columns that a manifest cannot have.
    """
    table = read_table(path, lambda columns: check_columns(columns, path), numbers=TIMES, known=FIXED_COLUMNS)
    if "path" in table.columns:
        return replace(table, notes=(*table.notes, *column_notes(table.columns)))
    return renamed(table, {next(column for column in table.columns if meaning(column) == "path"): "path"})


def renamed(table: Table, names: Mapping[str, str]) -> Table:
    """Return a table with other names of some columns, and sentences on them."""
    columns = tuple(names.get(column, column) for column in table.columns)
    rows = tuple((where, {names.get(name, name): cell for name, cell in row.items()}) for where, row in table.rows)
    return Table(columns, rows, (*table.notes, *taken_for(names), *column_notes(columns)))


def check_columns(columns: list[str], path: Path) -> None:
    """Raise UserError if there is no column path nor one that reads like it, or two that end an utterance."""
    meant = [column for column in columns if meaning(column) == "path"]
    if "path" not in columns and len(meant) != 1:
        found = ", ".join(columns) or "none"
        fix = f"Call the one that names the recordings path: {' or '.join(meant)}." if meant else FIRST_LINE
        raise UserError(f"{path} has no column path; found {found}. {fix}")
    refuse_two_ends(columns, str(path))


def refuse_two_ends(columns: Collection[str], where: str) -> None:
    """Raise UserError for two columns that end an utterance."""
    if "end" in columns and "stop" in columns:
        raise UserError(f"{where} has the columns end and stop, which mean the same; remove one of them.")


def meaning(column: str) -> str | None:
    """The column that a manifest would have under another name; None for what reads like a label."""
    without_unit = meaning_of_plain(UNIT.sub("", column.lower()))
    return meaning_of_plain(column.lower()) or (without_unit if without_unit in TIMES else None)


def meaning_of_plain(column: str) -> str | None:
    """As `meaning`, of a name in small letters and without a unit."""
    plain = plain_name(column)
    return SYNONYMS.get(plain) or next(iter(nearest(plain, FIXED_COLUMNS)), None)


def plain_name(column: str) -> str:
    """A column's name as `SYNONYMS` has it."""
    return re.sub(r"[\W_]", "", column.lower())


def column_notes(columns: Sequence[str]) -> list[str]:
    """Sentences on label columns whose names read like those of other columns that are not there.

    A duration without a start is that of the recording, which nobody cuts.
    """
    read_like = {column: meaning(column) for column in columns if column not in FIXED_COLUMNS}
    is_cut = "start" in (*columns, *read_like.values())
    return [
        f"The column {column!r} was read as labels; if it is the {meant}, call it {meant}"
        f"{', in seconds' if meant in TIMES else ''}."
        for column, meant in read_like.items()
        if meant is not None and meant not in columns and (meant != "duration" or is_cut)
    ]


def is_split(name: str) -> bool:
    """True for a name of a part, such as train, validation or test-clean."""
    return split_beginning(name) in SPLIT_NAMES


def split_beginning(name: str) -> str:
    """The part's name up to a dash, underscore or point, in small letters: "train" of "Train-clean-100"."""
    return re.split(r"[-_.]", name.strip().lower())[0]
