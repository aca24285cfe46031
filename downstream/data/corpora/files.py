"""Files of a corpus on disk: found through links, and told from what systems and people leave beside recordings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from downstream.data.audio import AUDIO_SUFFIXES
from downstream.data.compressed_sound import COMPRESSED_SUFFIXES, INSTALL, is_decodable
from upstream.errors import UserError
from upstream.text import composed, counted, one_line

# Of a user's own recordings: all that soundfile decodes. Those of a corpus are as it was published, not copies of them.
OWN_SUFFIXES = (*AUDIO_SUFFIXES, ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".au", ".sph")
# Of recordings that are left out, to say so: copies of corpora are often compressed. Others that PyAV decodes may be
# films.
OTHER_AUDIO = frozenset((*OWN_SUFFIXES[2:], ".aac", ".amr", ".m4a", ".wma", ".3gp", ".webm"))
NAMES_SHOWN = 3


class Entry(NamedTuple):
    """A name in a folder that is no folder's; `is_file` is False for links that lead nowhere, pipes and devices."""

    path: Path
    is_file: bool


@dataclass(frozen=True)
class Sorted:
    """Entries, told apart.

    recordings: the audio files that are read. others: further files, hidden ones aside.
    notes: sentences on recordings that are left out.
    """

    recordings: list[Path]
    others: list[Path]
    notes: list[str]


def own_suffixes() -> tuple[str, ...]:
    """The endings of all recordings that are decoded here: with PyAV, those of phones and browsers too."""
    return (*OWN_SUFFIXES, *(COMPRESSED_SUFFIXES if is_decodable() else ()))


def files_in(folder: Path) -> list[Entry]:
    """The entries directly in `folder` that are no folders, sorted by name; [] if there is no such folder."""
    return scan(folder)[0] if folder.is_dir() else []


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in `folder`, links to folders among them, sorted by name."""
    return scan(folder)[1]


def walk(folder: Path) -> Iterator[Entry]:
    """Every entry under `folder` that is no folder, in the order of names, with what lies behind links last.

    A folder is entered once, however many links lead to it, and none above `folder` is. Raises UserError for folders
    that may not be read.
    """
    entered = {identity(above) for above in folder.resolve().parents}
    waiting, links = [folder], list[Path]()
    while waiting or links:
        place = waiting.pop() if waiting else links.pop(0)
        if identity(place) in entered:
            continue
        entered.add(identity(place))
        entries, folders = scan(place)
        yield from entries
        links += [below for below in folders if below.is_symlink()]
        waiting += [below for below in reversed(folders) if not below.is_symlink()]


def identity(folder: Path) -> tuple[int, int]:
    """What is the same for every name of a folder: its disk and its number there."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def scan(folder: Path) -> tuple[list[Entry], list[Path]]:
    """The entries directly in a folder, and the folders; each sorted by name.

    Raises UserError for a folder that may not be read.
    """
    try:
        with os.scandir(folder) as found:
            below = sorted(found, key=lambda entry: entry.name)
    except PermissionError as error:
        raise UserError(f"The folder {folder} may not be read by this user; change its permissions.") from error
    entries: list[Entry] = []
    folders: list[Path] = []
    for entry in below:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()  # known from the folder, links aside
        except OSError:  # a link that leads to itself
            is_folder = is_file = False
        if is_folder:
            folders.append(folder / entry.name)
        else:
            entries.append(Entry(folder / entry.name, is_file))
    return entries, folders


def sort_out(entries: Iterable[Entry], suffixes: Sequence[str] = AUDIO_SUFFIXES) -> Sorted:
    """Tell the recordings among entries, by their suffixes, from hidden files, other kinds of audio, and the rest."""
    recordings, hidden, encoded, strays, others = (list[Path]() for _ in range(5))
    for path, is_file in entries:
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            hidden += [path] if suffix in suffixes else []
        elif not is_file:
            strays.append(path)
        elif suffix in suffixes:
            recordings.append(path)
        elif suffix in OTHER_AUDIO:
            encoded.append(path)
        else:
            others.append(path)
    if encoded:
        there = {path.with_suffix("") for path in recordings}
        encoded = [path for path in encoded if path.with_suffix("") not in there]
    notes = [
        *left_out(names_of(hidden), "hidden, as those in which macOS keeps what is no sound"),
        *left_out(names_of(encoded), why_left_out(suffixes)),
        *left_out(names_of(strays), "links that lead nowhere, or no files"),
    ]
    return Sorted(recordings, others, notes)


def why_left_out(suffixes: Sequence[str]) -> str:
    """Why recordings of other kinds are left out, and what to do."""
    if set(OWN_SUFFIXES) <= set(suffixes):
        return f"which PyAV decodes (type `{INSTALL}`, or convert them with ffmpeg)"
    return f"neither {' nor '.join(suffixes)} (convert them, such as with ffmpeg)"


def by_name(recordings: Iterable[Path], above: Path | None = None) -> dict[str, Path]:
    """Recordings by their names without suffix; raise UserError where two have one, such as a WAV and a FLAC.

    above: a folder from which on the folders are part of the name; None for the file's own name.
    """
    found: dict[str, Path] = {}
    for path in recordings:
        name = path.stem if above is None else path.relative_to(above).with_suffix("").as_posix()
        earlier = found.setdefault(name, path)
        if earlier != path:
            raise UserError(f"There are two recordings {name}: {earlier} and {path}. Remove one of them.")
    return found


def find_file(folder: Path, name: str) -> Path | None:
    """The file that a list calls `name`, relative to `folder`; None if there is none.

    Letters may be composed otherwise on disk than in the list, which is equal to the eye.
    """
    path = folder / name
    if os.path.isfile(path):
        return path
    place = folder
    for part in Path(name).parts:
        below = place / part
        if not os.path.exists(below):
            names = os.listdir(place) if place.is_dir() else []
            below = next((place / other for other in names if composed(other) == composed(part)), below)
        place = below
    return place if os.path.isfile(place) else None


def left_out(names: Sequence[str], why: str) -> list[str]:
    """A sentence on what was not read, if anything."""
    if not names:
        return []
    return [f"{counted(len(names), 'file was', 'files were')} left out, {why}: {shown(names)}."]


def names_of(paths: Iterable[Path]) -> list[str]:
    """The names of files, without their folders."""
    return [path.name for path in paths]


def shown(names: Sequence[str]) -> str:
    """The first few names, and the number of others."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(map(one_line, names[:NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")
