"""Any folder of recordings with a manifest.csv, one line an utterance, and optionally a segments.csv."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile, Recording
from downstream.data.corpora import segments
from downstream.data.corpora.audiofolder import metadata_files, read_metadata
from downstream.data.corpora.cards import MANIFEST as CARD
from downstream.data.corpora.cards import MANIFEST_FILE
from downstream.data.corpora.csv_table import seconds
from downstream.data.corpora.files import find_file
from downstream.data.corpora.folder import existing_folder
from downstream.data.corpora.genders import gender_of
from downstream.data.corpora.manifest_table import (
    FIXED_COLUMNS,
    SPLIT_NAMES,
    is_split,
    read_manifest_table,
    split_beginning,
)
from downstream.data.corpora.suggestions import contents, suggestion
from downstream.data.corpus import Corpus, Utterance
from upstream.errors import UserError
from upstream.text import counted

CHANNELS = {"a": 0, "b": 1, "left": 0, "right": 1}  # how telephone corpora and stereo call them
ROUNDING = 0.01  # seconds by which an end and a duration may differ


def read(folder: Path) -> Corpus:
    """Read a folder by its manifest.csv (UTF-8, with a line of column names; see `csv_table` on its cells).

    Columns: `path` (of the recording, relative to the folder or absolute), and optionally `speaker`, `text`,
    `split` (train, dev or validation, test, or a name that begins with one of these, like train-clean-100), `start`
    and `duration` or `end` (also `stop`; seconds within the recording), `channel` (of it, from 0, or A and B), `id`
    (default: the path, or path@start), `group`, `gender`. Every further column is a label column, such as `label`.
    Empty cells mean "not given".

    Without it, the metadata.csv or metadata.jsonl of an audio folder is read (see `audiofolder`).

    Timed segments come from segments.csv in the folder, if it is there (see `segments`).

    Raises UserError, with the line's number, for malformed lines.
    """
    path = existing_folder(folder) / MANIFEST_FILE
    metadata = [] if os.path.lexists(path) else metadata_files(folder)
    if not os.path.lexists(path) and not metadata:
        raise UserError(f"There is no {MANIFEST_FILE} in {folder}; {contents(folder)}. {suggestion(CARD, folder)}")
    table = read_metadata(metadata, folder) if metadata else read_manifest_table(path)
    utterances = [utterance(row, folder, where) for where, row in table.rows]
    if not utterances:
        raise UserError(f"{(*metadata, path)[0]} lists no utterance; add a line for each below the column names.")
    corpus = Corpus(
        name=CARD.name,
        title=f"{folder.resolve().name} (by its {(*metadata, path)[0].name})",
        licence=licence(folder),
        utterances=tuple(utterances),
        source=str(folder),
        notes=(*table.notes, *speaker_note(utterances)),
    )
    if not os.path.lexists(folder / segments.FILE_NAME):
        return corpus
    ids_by_path = defaultdict(list)
    for (_, row), listed in zip(table.rows, utterances, strict=True):
        ids_by_path[row["path"]].append(listed.id)
    found = segments.read_segments(folder / segments.FILE_NAME, utterances, ids_by_path)
    return replace(corpus, utterances=tuple(replace(u, segments=found.get(u.id, ())) for u in utterances))


def utterance(row: Mapping[str, str], folder: Path, where: str) -> Utterance:
    """The utterance of one line; `where` names the line in messages.

    Raises UserError for a cell that cannot be used.
    """
    if not row["path"]:
        raise UserError(f"{where}: the path is empty; name the recording or remove the line.")
    name, recording = named_recording(row["path"], folder, where)
    return utterance_of(row, name, AudioFile(recording), where)


def utterance_of(row: Mapping[str, str], name: str, recording: Recording, where: str) -> Utterance:
    """The utterance of one row whose recording is known, wherever it lies.

    name: of the recording, from which an id is made where the row has none.
    Raises UserError for a cell that cannot be used.
    """
    start, channel = seconds(row, "start", where), channel_of(row.get("channel", ""), where)
    cut = ("" if start is None else f"@{row['start']}") + ("" if channel is None else f"#{channel}")
    return Utterance(
        id=row.get("id") or f"{name}{cut}",
        audio=AudioCut(recording, start, duration_of(row, where), channel=channel),
        speaker=row.get("speaker", ""),
        labels={column: cell for column, cell in row.items() if cell and column not in FIXED_COLUMNS},
        text=row.get("text") or None,
        split=split_of(row.get("split", ""), where),
        group=row.get("group") or None,
        gender=gender_of(row.get("gender")),
        part=part_of(row.get("split", "")),
    )


def named_recording(name: str, folder: Path, where: str) -> tuple[str, Path]:
    """The path of a line, with slashes in place of Windows's if it takes these, and the file; UserError if none."""
    for spelling in (name, name.replace("\\", "/")):
        found = find_file(folder, spelling)
        if found is not None:
            return spelling, found
    raise UserError(
        f"{where}: there is no file {folder / name}; paths are relative to {folder}. Fix the path or remove the line."
    )


def duration_of(row: Mapping[str, str], where: str) -> float | None:
    """Seconds of the cut, by its duration or its end; None if it is all the rest of the recording.

    Raises UserError for an end that is not later than the start, and for a duration that says otherwise.
    """
    start, duration = seconds(row, "start", where), seconds(row, "duration", where)
    if duration == 0:
        raise UserError(f"{where}: the duration is 0; write seconds, or leave it empty for all of the recording.")
    column = "end" if "end" in row else "stop"
    end = seconds(row, column, where)
    if end is None:
        return duration
    lasting = round(end - (start or 0.0), 6)
    if lasting <= 0:
        raise UserError(
            f"{where}: the utterance starts at {start or 0.0:g} s and ends at {end:g} s; the {column} must be later."
        )
    if duration is not None and abs(duration - lasting) > ROUNDING:
        raise UserError(
            f"{where}: the duration is {duration:g} s, and from the start to the {column} are {lasting:g} s; correct "
            "one of them, or remove it."
        )
    return lasting if duration is None else duration


def channel_of(cell: str, where: str) -> int | None:
    """The channel that is heard, from 0; None if the cell is empty, for the mean of all.

    Raises UserError for what is no channel.
    """
    if not cell:
        return None
    if cell.isascii() and cell.isdigit() and len(cell) < 4:
        return int(cell)
    if cell.lower() not in CHANNELS:
        raise UserError(
            f"{where}: the channel is {cell!r}; write its number, from 0 on, or A or B. If the column holds labels, "
            "call it otherwise."
        )
    return CHANNELS[cell.lower()]


def split_of(cell: str, where: str) -> str | None:
    """Train, dev or test from a split's name ("train-clean-100" is train); None if the cell is empty.

    Raises UserError for another name.
    """
    if not cell:
        return None
    if not is_split(cell):
        raise UserError(f"{where}: the split is {cell!r}; write train, dev or test, or leave it empty.")
    return SPLIT_NAMES[split_beginning(cell)]


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
    of_all = counted(len(utterances), "utterance")
    return [f"{count} of {of_all} {'names' if count == 1 else 'name'} no speaker."] if count else []
