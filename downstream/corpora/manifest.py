"""Any folder of recordings with a manifest.csv, one line per utterance."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path

from downstream.audio import AudioFile, Segment
from downstream.corpora.cards import MANIFEST as CARD
from downstream.corpora.folder import contents, existing_folder, mend
from downstream.corpora.table import Corpus, Utterance
from upstream.errors import MendableError

FILE_NAME = "manifest.csv"
OWN_COLUMNS = ("path", "speaker", "text", "split", "start", "duration", "id", "group", "gender")
SPLITS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}
GENDERS = {"female": "female", "f": "female", "male": "male", "m": "male"}


def read(folder: Path) -> Corpus:
    """Read a folder by its manifest.csv (UTF-8, comma-separated, with a line of column names).

    Columns: `path` (of the recording, relative to the folder or absolute), and optionally `speaker`, `text`,
    `split` (train, dev or validation, test, or a name that begins so, like
    train-clean-100), `start` and `duration` (seconds within the recording), `id`
    (else the path, with the start behind an @), `group`, `gender`. Every further column, `label` above all,
    is a label by its name. An empty cell says nothing.

    Raises MendableError, with the line's number, for what cannot be meant.
    """
    path = existing_folder(folder) / FILE_NAME
    if not path.is_file():
        raise MendableError(f"There is no {FILE_NAME} in {folder}; {contents(folder)}. {mend(CARD, folder)}")
    utterances = [utterance(row, folder, f"{path}, line {line}") for line, row in read_rows(path)]
    if not utterances:
        raise MendableError(f"{path} lists no utterance; add a line for each below the column names.")
    return Corpus(
        name=CARD.name,
        title=f"{folder.resolve().name} (by its {FILE_NAME})",
        licence=licence(folder),
        utterances=tuple(utterances),
        source=str(folder),
        notes=tuple(speaker_note(utterances)),
    )


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, cells by column, blanks around them taken away) of every line below the column names."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            columns = [column.strip() for column in rows.fieldnames or ()]
            check_columns(columns, path)
            rows.fieldnames = columns
            return [(rows.line_num, checked_cells(row, f"{path}, line {rows.line_num}")) for row in rows]
    except UnicodeDecodeError as error:
        raise MendableError(f"{path} is not UTF-8 text ({error.reason}); save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise MendableError(f"{path} is not a CSV file ({error}); save it again as CSV with commas.") from error


def check_columns(columns: list[str], path: Path) -> None:
    """Raise MendableError for column names that a manifest cannot have."""
    if "path" not in columns:
        found = ", ".join(columns) or "none"
        raise MendableError(
            f"{path} has no column path; found {found}. Its first line must name the columns, "
            "for instance path,speaker,label,text."
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise MendableError(f"{path} has more than one column {repeated[0]!r}; rename or remove one.")


def checked_cells(row: Mapping[str | None, str | list[str] | None], where: str) -> dict[str, str]:
    """The cells of one line by column; raise MendableError where they are not as many as the columns."""
    if None in row or None in row.values():
        raise MendableError(
            f"{where}: {'more' if None in row else 'fewer'} cells than there are columns; "
            "put a text that holds commas in double quotes."
        )
    return {str(column): str(cell).strip() for column, cell in row.items()}


def utterance(row: Mapping[str, str], folder: Path, where: str) -> Utterance:
    """The utterance of one line; `where` says in a message which one it is."""
    if not row["path"]:
        raise MendableError(f"{where}: the path is empty; name the recording or remove the line.")
    recording = folder / row["path"]
    if not recording.is_file():
        raise MendableError(
            f"{where}: there is no file {recording}; paths are relative to {folder}. Mend the path or remove the line."
        )
    start, duration = seconds(row, "start", where), seconds(row, "duration", where)
    if duration == 0:
        raise MendableError(f"{where}: the duration is 0; write seconds, or leave it empty for all of the recording.")
    return Utterance(
        id=row.get("id") or (row["path"] if start is None else f"{row['path']}@{row['start']}"),
        audio=Segment(AudioFile(recording), start, duration),
        speaker=row.get("speaker", ""),
        labels={column: cell for column, cell in row.items() if cell and column not in OWN_COLUMNS},
        text=row.get("text") or None,
        split=split_of(row.get("split", ""), where),
        group=row.get("group") or None,
        gender=GENDERS.get(row.get("gender", "").lower()),
        part=part_of(row.get("split", "")),
    )


def split_of(cell: str, where: str) -> str | None:
    """The part that a split's name means: "train-clean-100" is train; None where the cell is empty."""
    if not cell:
        return None
    beginning = re.split(r"[-_]", cell.lower())[0]
    if beginning not in SPLITS:
        raise MendableError(f"{where}: the split is {cell!r}; write train, dev or test, or leave it empty.")
    return SPLITS[beginning]


def part_of(cell: str) -> str | None:
    """The part's own name, "train-clean-100"; None where it is no more than train, dev or test."""
    return cell if cell and cell.lower() not in SPLITS else None


def seconds(row: Mapping[str, str], column: str, where: str) -> float | None:
    """A time in seconds from one cell, 0 or more; None where the cell is empty or the column is missing."""
    cell = row.get(column, "")
    if not cell:
        return None
    try:
        time = float(cell)
    except ValueError:
        time = math.nan
    if not (math.isfinite(time) and time >= 0):
        raise MendableError(f"{where}: the {column} is {cell!r}; write seconds, 0 or more, such as 1.25.")
    return time


def licence(folder: Path) -> str:
    """Where the folder states its licence, if it does."""
    files = sorted(path.name for path in folder.glob("LICEN[CS]E*"))
    return f"as its {files[0]} states" if files else "not stated in the folder"


def speaker_note(utterances: list[Utterance]) -> list[str]:
    """A sentence where utterances name no speaker, without whom no split can be shown to be disjoint."""
    count = sum(not u.speaker for u in utterances)
    return [f"{count} of {len(utterances)} utterances name no speaker."] if count else []
