"""Any folder of recordings with a manifest.csv, one line an utterance, and optionally a segments.csv."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora import segments
from downstream.data.corpora.cards import MANIFEST as CARD
from downstream.data.corpora.csv_table import read_rows, seconds
from downstream.data.corpora.folder import contents, existing_folder, gender_of, suggestion
from downstream.data.corpus import Corpus, Utterance
from upstream.errors import UserError

FILE_NAME = "manifest.csv"
FIXED_COLUMNS = ("path", "speaker", "text", "split", "start", "duration", "id", "group", "gender")
SPLIT_NAMES = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "test": "test"}


def read(folder: Path) -> Corpus:
    """Read a folder by its manifest.csv (UTF-8, comma-separated, with a line of column names).

    Columns: `path` (of the recording, relative to the folder or absolute), and optionally `speaker`, `text`,
    `split` (train, dev or validation, test, or a name that begins with one of these, like train-clean-100), `start`
    and `duration` (seconds within the recording), `id` (default: the path, or path@start), `group`, `gender`. Every
    further column is a label column, such as `label`. Empty cells mean "not given".

    Timed segments come from segments.csv in the folder, if it is there (see `segments`).

    Raises UserError, with the line's number, for malformed lines.
    """
    path = existing_folder(folder) / FILE_NAME
    if not path.is_file():
        raise UserError(f"There is no {FILE_NAME} in {folder}; {contents(folder)}. {suggestion(CARD, folder)}")
    rows = read_rows(path, lambda columns: check_columns(columns, path))
    utterances = [utterance(row, folder, where) for where, row in rows]
    if not utterances:
        raise UserError(f"{path} lists no utterance; add a line for each below the column names.")
    corpus = Corpus(
        name=CARD.name,
        title=f"{folder.resolve().name} (by its {FILE_NAME})",
        licence=licence(folder),
        utterances=tuple(utterances),
        source=str(folder),
        notes=tuple(speaker_note(utterances)),
    )
    if not (folder / segments.FILE_NAME).is_file():
        return corpus
    ids_by_path = defaultdict(list)
    for (_, row), listed in zip(rows, utterances, strict=True):
        ids_by_path[row["path"]].append(listed.id)
    found = segments.read_segments(folder / segments.FILE_NAME, utterances, ids_by_path)
    return replace(corpus, utterances=tuple(replace(u, segments=found.get(u.id, ())) for u in utterances))


def check_columns(columns: list[str], path: Path) -> None:
    """Raise UserError if there is no column path."""
    if "path" not in columns:
        found = ", ".join(columns) or "none"
        raise UserError(
            f"{path} has no column path; found {found}. Its first line must name the columns, "
            "for instance path,speaker,label,text."
        )


def utterance(row: Mapping[str, str], folder: Path, where: str) -> Utterance:
    """The utterance of one line; `where` names the line in messages."""
    if not row["path"]:
        raise UserError(f"{where}: the path is empty; name the recording or remove the line.")
    recording = folder / row["path"]
    if not recording.is_file():
        raise UserError(
            f"{where}: there is no file {recording}; paths are relative to {folder}. Fix the path or remove the line."
        )
    start, duration = seconds(row, "start", where), seconds(row, "duration", where)
    if duration == 0:
        raise UserError(f"{where}: the duration is 0; write seconds, or leave it empty for all of the recording.")
    return Utterance(
        id=row.get("id") or (row["path"] if start is None else f"{row['path']}@{row['start']}"),
        audio=AudioCut(AudioFile(recording), start, duration),
        speaker=row.get("speaker", ""),
        labels={column: cell for column, cell in row.items() if cell and column not in FIXED_COLUMNS},
        text=row.get("text") or None,
        split=split_of(row.get("split", ""), where),
        group=row.get("group") or None,
        gender=gender_of(row.get("gender")),
        part=part_of(row.get("split", "")),
    )


def split_of(cell: str, where: str) -> str | None:
    """Train, dev or test from a split's name ("train-clean-100" is train); None if the cell is empty."""
    if not cell:
        return None
    beginning = re.split(r"[-_]", cell.lower())[0]
    if beginning not in SPLIT_NAMES:
        raise UserError(f"{where}: the split is {cell!r}; write train, dev or test, or leave it empty.")
    return SPLIT_NAMES[beginning]


def part_of(cell: str) -> str | None:
    """The part's name, such as "train-clean-100"; None if it is just train, dev or test."""
    return cell if cell and cell.lower() not in SPLIT_NAMES else None


def licence(folder: Path) -> str:
    """The file in the folder that states its licence, in words."""
    files = sorted(path.name for path in folder.glob("LICEN[CS]E*"))
    return f"as its {files[0]} states" if files else "not stated in the folder"


def speaker_note(utterances: list[Utterance]) -> list[str]:
    """A sentence on utterances without a speaker, whose splits cannot be checked for overlap."""
    count = sum(not u.speaker for u in utterances)
    return [f"{count} of {len(utterances)} utterances name no speaker."] if count else []
