"""Recordings that the words of a command line name: files, folders, manifests and lists of files."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from downstream.data.audio import NO_EFFECTS, AudioCut, AudioFile
from downstream.data.corpora.cards import MANIFEST_FILE
from downstream.data.corpora.files import left_out, own_suffixes, shown, sort_out, walk
from downstream.data.corpora.manifest import utterance
from downstream.data.corpora.manifest_table import read_manifest_table
from downstream.data.corpus import Utterance
from downstream.data.corpus_inspection import inspected_items, recordings_kept
from downstream.data.effects import Effects
from downstream.data.text_files import read_lines
from upstream import files
from upstream.encode import Item
from upstream.errors import UserError
from upstream.text import composed, counted, printable

TABLES = (".csv", ".tsv")
LISTS = (".txt", ".lst")
STANDARD_INPUT = "-"
FAULTS_SHOWN = 3


@dataclass(frozen=True)
class NamedRecording:
    """A recording, or a part cut from one by a manifest.

    utterance: what is known of it; only a manifest gives labels, a speaker or a text.
    item: as `upstream.encode` takes it, with digest and seconds.
    """

    utterance: Utterance
    item: Item

    @property
    def id(self) -> str:
        """Its name, which no other of the command has: "anna/01" for anna/01.wav of a folder."""
        return self.utterance.id

    @property
    def path(self) -> str:
        """Its file, as printed."""
        return self.item.name


@dataclass(frozen=True)
class NamedRecordings:
    """What the words name, in their order, a folder's files by name; `notes` are sentences on what was left out."""

    recordings: tuple[NamedRecording, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A recording before it has its name. above: the folder that its name is relative to; None for a given id."""

    utterance: Utterance
    path: Path
    above: Path | None

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal for the same part of the same file."""
        audio = self.utterance.audio
        return os.path.realpath(self.path), audio.start, audio.duration, audio.channel

    def name(self, above: Path) -> str:
        """Its path below a folder, without its suffix."""
        return composed(self.path.relative_to(above).with_suffix("").as_posix())


def recordings_named(
    words: Sequence[str],
    kept: Path | None = None,
    progress: bool = True,
    skip_unreadable: bool = False,
    effects: Effects = NO_EFFECTS,
) -> NamedRecordings:
    """Return the recordings that the words of a command line name.

    words: each an audio file; a folder, with all audio files below it; a table (.csv, .tsv) with the columns of
        manifest.csv; a list (.txt, .lst) with a file a line, relative to the list's folder or to the current one; or
        "-", a list on standard input.
    kept: the file of what earlier commands found of recordings, so that unchanged ones are not read again; None for
        the one in the store.
    skip_unreadable: leave out, with a note, what is no audio that can be decoded.
    effects: applied to each of them.

    A recording is called as its file without suffix, with the folders below the one that was named; where two are
    called the same, with as many folders as tell them apart. A file that is named twice is taken once.

    Raises UserError where nothing is named, a file is missing, and a recording cannot be read.
    """
    if not words:
        raise UserError("No recording is named; name files, folders, a manifest.csv or a list of files.")
    notes: list[str] = []
    found = [one for word in words for one in recordings_of(word, notes)]
    distinct = list({one.key: one for one in reversed(found)}.values())[::-1]
    if len(distinct) < len(found):
        notes.append(f"{counted(len(found) - len(distinct), 'recording')} named more than once, taken once.")
    utterances = [replace(one, audio=replace(one.audio, effects=effects)) for one in with_names(distinct)]
    kept = kept or recordings_kept(files.DEFAULT_STORE)
    if skip_unreadable:
        utterances, unreadable = without_unreadable(utterances, kept)
        notes += unreadable
    return NamedRecordings(inspected(utterances, kept, progress), tuple(map(printable, notes)))


# ---------------------------------------------------------------- words to files


def recordings_of(word: str, notes: list[str]) -> Iterator[Found]:
    """Yield the recordings that one word names; add sentences on what was left out to `notes`."""
    path = Path(word)
    suffix = path.suffix.lower()
    if word == STANDARD_INPUT:
        yield from listed((line.rstrip("\r\n") for line in sys.stdin), "standard input", Path())
    elif path.is_dir():
        yield from recordings_below(path, notes)
    elif not path.exists():
        raise UserError(f"There is no file or folder {printable(word)}; check the path.")
    elif suffix in TABLES:
        yield from tabled(path, notes)
    elif suffix in LISTS:
        yield from listed(read_lines(path), str(path), path.parent)
    else:
        yield recording(path, path.parent)


def recording(path: Path, above: Path) -> Found:
    """Return an audio file, named by its path below a folder."""
    return Found(Utterance("", AudioCut(AudioFile(path)), speaker=""), path, above)


def recordings_below(folder: Path, notes: list[str]) -> Iterator[Found]:
    """Yield the audio files below a folder, by name; raise UserError where there are none."""
    there = sort_out(walk(folder), own_suffixes())
    notes += there.notes
    if not there.recordings:
        others = f"; of other files there are {shown([path.name for path in there.others])}" if there.others else ""
        raise UserError(f"No recording ({', '.join(own_suffixes())}) lies below the folder {folder}{others}.")
    if any(path == folder / MANIFEST_FILE for path in there.others):
        notes.append(f"{folder / MANIFEST_FILE} was not read; name it to take the utterances that it lists.")
    for path in there.recordings:
        yield recording(path, folder)


def tabled(path: Path, notes: list[str]) -> Iterator[Found]:
    """Yield the utterances of a table with the columns of a manifest; an id is its path where no column gives it."""
    table = read_manifest_table(path)
    if not table.rows:
        raise UserError(f"{path} lists no utterance; add a line for each below the column names.")
    notes += table.notes
    for where, row in table.rows:
        one = utterance(row, path.parent, where)
        assert isinstance(one.audio.recording, AudioFile)
        yield Found(one, one.audio.recording.path, None)


def listed(lines: Iterable[str], where: str, folder: Path) -> Iterator[Found]:
    """Yield the files that lines name, relative to the folder or to the current one."""
    is_empty = True
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line:
            continue
        is_empty = False
        path = next((path for path in (folder / line, Path(line)) if path.is_file()), None)
        if path is None:
            raise UserError(
                f"{where}, line {number}: there is no file {printable(line)!r}; a list has one audio file a line, "
                "relative to the list's folder or to the current one."
            )
        yield recording(path, path.parent)
    if is_empty:
        raise UserError(f"{where} names no recording; write one audio file a line.")


# ---------------------------------------------------------------- names


def with_names(found: Sequence[Found]) -> list[Utterance]:
    """Return the utterances under names of their own.

    Raises UserError where the ids of tables are equal.
    """
    names = [one.utterance.id if one.above is None else one.name(one.above) for one in found]
    while shared := {name: places for name, places in places_of(names).items() if len(places) > 1}:
        for name, places in shared.items():
            paths = [found[place].path for place in places]
            if any(found[place].above is None for place in places):
                raise UserError(
                    f"{len(places)} recordings have the id {name!r}: {shown([str(path) for path in paths])}. Give each "
                    "its own in a column id, or name the tables in commands of their own."
                )
            for place, own in zip(places, told_apart(paths), strict=True):
                names[place] = own
    return [replace(one.utterance, id=name) for one, name in zip(found, names, strict=True)]


def places_of(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of each name."""
    places = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    return places


def told_apart(paths: Sequence[Path]) -> list[str]:
    """Return the ends of different paths, as long as tells them apart, without suffixes where these are not needed."""
    whole = [Path(os.path.abspath(path)) for path in paths]
    longest = max(len(path.parts) for path in whole)
    ends = [[Path(*path.parts[-parts:]) for path in whole] for parts in range(1, longest + 1)]
    for named in ([[end.with_suffix("") for end in ends_of_length] for ends_of_length in ends[1:]], ends):
        for candidates in named:
            names = [composed(end.as_posix().lstrip("/")) for end in candidates]
            if len(set(names)) == len(names):
                return names
    raise AssertionError("equal paths")


# ---------------------------------------------------------------- files to items


def inspected(utterances: Sequence[Utterance], kept: Path, progress: bool) -> tuple[NamedRecording, ...]:
    """Return the recordings with digest and length; raise UserError with all that cannot be read."""
    try:
        items = inspected_items(utterances, kept, progress)
    except UserError as error:
        faults = faults_of(utterances)
        if len(faults) < 2:
            raise
        raise UserError(
            f"{len(faults)} of {counted(len(utterances), 'recording')} cannot be read: "
            f"{' '.join(list(faults.values())[:FAULTS_SHOWN])}{' …' if len(faults) > FAULTS_SHOWN else ''}"
        ) from error
    return tuple(NamedRecording(one, item) for one, item in zip(utterances, items, strict=True))


def without_unreadable(utterances: Sequence[Utterance], kept: Path) -> tuple[list[Utterance], list[str]]:
    """Return the utterances that can be read, and a sentence on the others; raise UserError where none can."""
    try:
        inspected_items(utterances, kept)
    except UserError as error:
        faults = faults_of(utterances)
        if len(faults) == len(utterances):
            raise UserError(f"None of {counted(len(utterances), 'recording')} can be read: {error}") from error
        names = [utterances[place].audio.recording.name for place in faults]
        rest = [one for place, one in enumerate(utterances) if place not in faults]
        return rest, left_out(names, "which cannot be read")
    return list(utterances), []


def faults_of(utterances: Sequence[Utterance]) -> dict[int, str]:
    """Return what is wrong with utterances that cannot be read, by their places."""
    faults = {}
    for place, one in enumerate(utterances):
        try:
            one.audio.inspected().seconds()
        except UserError as error:
            faults[place] = str(error)
    return faults
