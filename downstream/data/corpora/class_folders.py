"""A folder with a subfolder for each class (or speaker) and no manifest; `folder_scan` says what is read of it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from downstream.data.audio import AudioFile
from downstream.data.corpora.audiofolder import metadata_files
from downstream.data.corpora.cards import FOLDER as CARD
from downstream.data.corpora.cards import MANIFEST_FILE
from downstream.data.corpora.files import own_suffixes, shown
from downstream.data.corpora.folder import existing_folder
from downstream.data.corpora.folder_scan import SUBFOLDERS, FolderScan, scan_folder
from downstream.data.corpora.manifest import licence, utterance_of
from downstream.data.corpora.suggestions import contents, suggestion
from downstream.data.corpus import Corpus
from upstream.errors import UserError
from upstream.text import one_line


def read(folder: Path) -> Corpus:
    """Read the recordings below a folder, each with the name of its subfolder as its label.

    Ids, labels, parts and transcripts are those that `wavprobe manifest` would write. Raises UserError where there is
    no recording.
    """
    scan = scanned(folder)
    utterances = [
        utterance_of(row, row["path"], AudioFile(path), str(path))
        for row, path in zip(scan.rows, scan.files, strict=True)
    ]
    listed = [folder / MANIFEST_FILE, *metadata_files(folder)]
    unread = [f"{path.name} was not read; -c manifest reads it." for path in listed[:2] if os.path.lexists(path)]
    return Corpus(
        name=CARD.name,
        title=f"{folder.resolve().name} (by its subfolders)",
        licence=licence(folder),
        utterances=tuple(utterances),
        source=str(folder),
        notes=(*scan.notes, *unread),
        subfolders=SUBFOLDERS,
    )


def scanned(folder: Path) -> FolderScan:
    """What is found below a folder; raise UserError where there is no recording."""
    scan = scan_folder(existing_folder(folder))
    if not scan.rows:
        noted = "".join(f"{note} " for note in scan.notes)
        raise UserError(
            f"There is no recording ({shown(own_suffixes())} endings) in {folder} and below; {contents(folder)}. "
            f"{noted}{suggestion(CARD, folder)}"
        )
    return scan


def manifest_csv(rows: Iterable[Mapping[str, str]]) -> bytes:
    """The content of a manifest.csv with these rows and the columns that they have.

    Raises UserError for names of files that a line of a table cannot hold.
    """
    listed = list(rows)
    columns = [name for name in ("path", "speaker", "label", "text", "split") if any(name in row for row in listed)]
    for row in listed:
        path = row["path"]
        if path != path.strip() or path != one_line(path):
            raise UserError(
                f"The name {one_line(path)!r} cannot stand in a table: it begins or ends with a blank, or has "
                "characters that are no text. Rename the file or folder, or use the folder as it is with -c folder."
            )
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue().encode()
