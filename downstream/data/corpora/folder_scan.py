"""A folder without a manifest: its recordings, with what their folders and the files beside them tell for sure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.data.corpora.files import Sorted, folders_in, left_out, own_suffixes, shown, sort_out, walk
from downstream.data.corpora.manifest_table import is_split
from downstream.data.text_files import read_text
from upstream.errors import UserError
from upstream.text import counted

SUBFOLDERS = "label"  # the column of the names of subfolders
TRANSCRIPTS = (".txt", ".lab")  # beside a recording of the same name
HTK_LABEL = re.compile(r"\d+ \d+ \S+.*")  # a line of an HTK label file, whose times are in 100 ns

Folders = tuple[str, ...]  # the folders above a recording, from the scanned one down


@dataclass(frozen=True)
class FolderScan:
    """The recordings below a folder.

    rows: cells by column, as the lines of a manifest: path, and where it is known label, split and text.
    files: the recording of each row. notes: sentences on what was left out, and on what was not told apart.
    """

    rows: list[dict[str, str]]
    files: list[Path]
    notes: list[str]


@dataclass(frozen=True)
class Levels:
    """Which of the folders above a recording tell what.

    common: how many all recordings share, which tell nothing. part: the level of train, dev and test; None if there is
    none. label: the level of the subfolders.
    """

    common: int
    part: int | None
    label: int

    @classmethod
    def of(cls, above: Sequence[Folders]) -> Levels:
        common = 0
        while all(len(own) > common + 1 for own in above) and len({own[common] for own in above}) == 1:
            if is_split(above[0][common]):
                break
            common += 1
        for part, label in ((common, common + 1), (common + 1, common)):
            if all(len(own) > part and is_split(own[part]) for own in above):
                return cls(common, part, label)
        return cls(common, None, common)

    def cells(self, own: Folders) -> dict[str, str]:
        """The cells that the folders above a recording tell."""
        found = {} if self.part is None else {"split": own[self.part].strip()}
        return found | ({SUBFOLDERS: own[self.label].strip()} if len(own) > self.label else {})


def scan_folder(folder: Path) -> FolderScan:
    """Find the recordings below a folder, the subfolder of each, its part and its transcript.

    A subfolder's name is the label of all that lies below it. Folders train, dev (or val, validation) and test above
    the subfolders, or right below them, are parts, if there are no others beside them. Folders that hold all of it
    (my_clips/wav/...) are passed. A text file of the same name beside a recording (.txt, .lab) is its transcript.

    Raises UserError for folders that may not be read.
    """
    entries = [entry for entry in walk(folder) if not is_hidden(entry.path.parent.relative_to(folder).parts)]
    found = sort_out(entries, own_suffixes())
    recordings, notes = once(found)
    above = [path.parent.relative_to(folder).parts for path in recordings]
    levels = Levels.of(above) if above else Levels(0, None, 0)
    texts, text_notes = transcripts(recordings, found.others)
    rows = [
        {"path": path.relative_to(folder).as_posix()} | levels.cells(own) | text
        for path, own, text in zip(recordings, above, texts, strict=True)
    ]
    notes += [*found.notes, *text_notes, *folder_notes(folder, levels, above)]
    return FolderScan(rows, recordings, notes)


def is_hidden(folders: Iterable[str]) -> bool:
    """Return True if one of the folders is a system's or a program's (.git, __MACOSX)."""
    return any(name.startswith((".", "__MACOSX")) for name in folders)


def once(found: Sorted) -> tuple[list[Path], list[str]]:
    """The recordings without those that lie beside one of the same name in another format, and a sentence on them."""
    order = {suffix: place for place, suffix in enumerate(own_suffixes())}
    best: dict[Path, Path] = {}
    for path in sorted(found.recordings, key=lambda path: order[path.suffix.lower()]):
        best.setdefault(path.with_suffix(""), path)
    kept = set(best.values())
    again = [path.name for path in found.recordings if path not in kept]
    why = "which lie beside a recording of the same name in another format"
    return [path for path in found.recordings if path in kept], left_out(again, why)


def folder_notes(folder: Path, levels: Levels, above: Sequence[Folders]) -> list[str]:
    """Sentences on folders that all share, on those below the subfolders, and on subfolders without a recording."""
    notes = []
    if levels.common:
        notes.append(f"All recordings lie below {'/'.join(above[0][: levels.common])}, whose subfolders were read.")
    deeper = sorted({"/".join(own) for own in above if len(own) > max(levels.label, levels.part or 0) + 1})
    if deeper:
        notes.append(f"Folders below the subfolders tell nothing: {shown(deeper)}.")
    bases, named = ({own[:depth] for own in above} for depth in (levels.label, levels.label + 1))
    empty = [
        path.relative_to(folder).as_posix()
        for base in sorted(bases)
        for path in folders_in(folder.joinpath(*base))
        if not is_hidden([path.name]) and (*base, path.name) not in named
    ]
    if empty:
        notes.append(f"No recording that is read lies in {shown(empty)}.")
    return notes


# ---------------------------------------------------------------- transcripts


def transcripts(recordings: Sequence[Path], others: Sequence[Path]) -> tuple[list[dict[str, str]], list[str]]:
    """The cell with the transcript of each recording that has one, and sentences on those that cannot be read."""
    beside = {path.with_suffix(""): path for path in reversed(others) if path.suffix.lower() in TRANSCRIPTS}
    cells: list[dict[str, str]] = []
    faults: list[str] = []
    timed: list[str] = []
    for recording in recordings:
        path = beside.get(recording.with_suffix(""))
        try:
            lines = read_text(path).splitlines() if path is not None else []
        except UserError as error:  # of no concern where nothing is transcribed
            faults.append(str(error))
            lines = []
        if path is not None and lines and all(HTK_LABEL.fullmatch(line) for line in lines):
            timed.append(path.name)
            lines = []
        text = " ".join(" ".join(lines).split())
        cells.append({"text": text} if text else {})
    notes = [f"{counted(len(faults), 'transcript')} could not be read. {faults[0]}"] if faults else []
    return cells, [*notes, *left_out(timed, "whose lines have times, so that they are no transcripts")]
