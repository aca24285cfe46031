"""What to type instead, for a folder that does not hold the corpus that was asked for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from downstream.data.audio import AUDIO_SUFFIXES
from downstream.data.corpora.audiofolder import metadata_files
from downstream.data.corpora.cards import CARDS, FOLDER, MANIFEST, MANIFEST_FILE, CorpusCard
from downstream.data.corpora.files import OTHER_AUDIO, files_in, own_suffixes, shown, walk
from downstream.data.corpora.readers import reader
from upstream.errors import UserError
from upstream.text import printable

FILES_LOOKED_AT = 2000  # enough to recognise a corpus, few enough not to walk a whole disk
PLACES_TRIED = 4
LEVELS_LOOKED_AT = 3  # above a folder, for a manifest


class ForeignFolderError(UserError):
    """A folder does not hold the corpus: what was looked for, what was found, what to type.

    The message is made when it is shown, since a search for what to type tries other folders and other readers.
    """

    def __init__(self, card: CorpusCard, folder: Path) -> None:
        super().__init__(f"There is no {card.title} in {folder}.")
        self._card, self._folder = card, folder

    def __str__(self) -> str:
        card, folder = self._card, self._folder
        return printable(
            f"There is no {card.title} in {folder}: looked for {card.layout}; {contents(folder)}. "
            f"{suggestion(card, folder)}"
        )


def contents(folder: Path) -> str:
    """The first entries of a folder, in words."""
    entries = sorted(path.name for path in folder.iterdir())
    return f"found {shown(entries)}" if entries else "the folder is empty"


def suggestion(card: CorpusCard, folder: Path) -> str:
    """What to type instead, for a folder that does not hold the corpus of `card`."""
    hints = []
    if card == MANIFEST:
        hints += [f"There is one in {place}: type --data {place}." for place in manifests_near(folder)[:1]]
    elif listed := [path for path in (folder / MANIFEST_FILE, *metadata_files(folder)) if path.is_file()]:
        hints.append(f"It has a {listed[0].relative_to(folder)}: add -c {MANIFEST.name} to read that.")
    found = recognised(folder)
    own = [files for other, files in found if other == card]
    if own:
        hints.append(own_hint(card, own[0], folder))
    elif found:
        titles, names = " or ".join(other.title for other, _ in found), " or ".join(other.name for other, _ in found)
        place = next(places_of(*found[0], folder), folder) if len(found) == 1 else folder
        data = "" if place == folder else f" and --data {place}"
        hints.append(f"This looks like {titles}: add -c {names}{data}.")
    if not hints and card != FOLDER and (classes := subfolders_with_recordings(folder)):
        hold = f"Its subfolders hold recordings ({shown(classes)})"
        hints.append(f"{hold}: add -c {FOLDER.name} to take them for classes or speakers.")
    return " ".join(hints) or f"Give --data the folder that holds {card.layout}. {card.where}"


def instead_of_path(path: Path) -> str:
    """What to type for recordings whose place was given in place of a corpus's name."""
    folder = path if path.is_dir() else path.parent
    tables = [folder / MANIFEST_FILE, *metadata_files(folder)]
    if path.is_file() and path not in tables:
        return f"A table of recordings is called {MANIFEST_FILE}; name its folder: -c {MANIFEST.name} --data DIR."
    found = [] if path.is_file() else recognised(folder)
    name = found[0][0].name if len(found) == 1 else FOLDER.name
    if any(table.is_file() for table in tables):
        name = MANIFEST.name
    return f"Type -c {name} --data {shlex.quote(str(folder))}."


def subfolders_with_recordings(folder: Path) -> list[str]:
    """The names of the folders directly in `folder` below which recordings were found; it is not searched wholly."""
    places = [path.parent.relative_to(folder).parts for path in files_looked_at(folder, own_suffixes())]
    return sorted({place[0] for place in places if place})


def own_hint(card: CorpusCard, files: Sequence[Path], folder: Path) -> str:
    """What to do where files named as the corpus's own were found, and not read."""
    readable = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    if not readable:
        return (
            f"Files named as in {card.title} are there as {files[0].suffix}, such as {files[0]}, which is not read; "
            f"convert them to {' or '.join(AUDIO_SUFFIXES)}, such as with ffmpeg."
        )
    place = next(places_of(card, readable, folder), None)
    if place is None:
        return f"Files named as in {card.title} are there, but none of that kind at that place."
    return f"Files named as in {card.title} are there and can be read from {place}: type --data {place}."


def places_of(card: CorpusCard, files: Sequence[Path], folder: Path) -> Iterator[Path]:
    """The folders from which the corpus of these files can be read: `folder`, or some above the files."""
    above = [path.absolute().parents for path in files]
    places = [parents[depth] for depth in (card.depth, card.depth - 1) for parents in above if depth < len(parents)]
    for place in list(dict.fromkeys((folder, *places)))[:PLACES_TRIED]:
        with suppress(UserError):
            reader(card)(place)
            yield place


def manifests_near(folder: Path) -> list[Path]:
    """The folders up to two levels below `folder`, and those above it, that have a manifest."""
    below = [path.parent for levels in ("*", "*/*") for path in sorted(folder.glob(f"{levels}/{MANIFEST_FILE}"))]
    above = list(folder.absolute().parents)[:LEVELS_LOOKED_AT]
    return [place for place in (*below, *above) if (place / MANIFEST_FILE).is_file()]


def recognised(folder: Path) -> list[tuple[CorpusCard, list[Path]]]:
    """The corpora whose file names match audio files in `folder`, with those files."""
    files = files_looked_at(folder, (*AUDIO_SUFFIXES, *OTHER_AUDIO))
    named = [(card, [path for path in files if named_as(card, path)]) for card in CARDS]
    return [(card, found) for card, found in named if found]


def files_looked_at(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The first files below a folder that end with one of the suffixes, none of them hidden."""
    try:
        paths = [path for path, is_file in islice(walk(folder), FILES_LOOKED_AT) if is_file]
    except UserError:  # a folder somewhere below may not be read
        paths = [path for path, is_file in files_in(folder) if is_file]
    return [path for path in paths if path.suffix.lower() in suffixes and not path.name.startswith(".")]


def named_as(card: CorpusCard, path: Path) -> bool:
    """True if a file's name, with as many folders above it as the card's pattern has, matches that pattern."""
    folders = card.recording.count("/")
    name = "/".join(path.absolute().with_suffix("").parts[-1 - folders :])
    return re.fullmatch(card.recording, name) is not None
