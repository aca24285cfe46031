"""Records of runs below some folders: each run once, and by name what contradicts itself or another record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.results import RECORD, CheckedRecord, Result, checked_records, digest_of
from upstream.text import printable


@dataclass(frozen=True)
class Found:
    """A record.

    place: its folder, relative to the one that was named. digest: of its content, which identifies the run.
    unchecked: a sentence on each thing that could not be checked.
    """

    place: str
    digest: str
    result: Result
    unchecked: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Result, place: str, unchecked: Sequence[str] = ()) -> Found:
        return cls(place, digest_of(result.model_dump(mode="json", by_alias=True)), result, tuple(unchecked))


@dataclass(frozen=True)
class LeftOut:
    """A record that was refused, and the sentence that says why."""

    place: str
    why: str


@dataclass(frozen=True)
class Gathered:
    """The records, those that were refused, and how many were copies of a run that was there already."""

    records: tuple[Found, ...]
    refused: tuple[LeftOut, ...] = ()
    copies: int = 0


def gathered(folders: Sequence[str | Path], families: Sequence[str] = ()) -> Gathered:
    """Return the records below some folders (or of one run: its folder, its result.json); a run in two of them once.

    Of two records that contradict each other the one in the folder that was named first is kept. families: of external
    families whose code is trusted, "module.py:Family".

    Raises UserError for a folder that does not exist.
    """
    places = Places(folders)
    records = checked_records(folders, families)
    found = [found_at(one, places) for one in records.kept]
    refused = [LeftOut(places.of(one.path.parent), places.within(one.why)) for one in records.refused]
    ordered = sorted(found, key=lambda one: (one.place, one.digest))
    return Gathered(tuple(ordered), tuple(sorted(refused, key=lambda one: one.place)), len(records.repeated))


def found_at(record: CheckedRecord, places: Places) -> Found:
    """Return a record with its place."""
    folder = record.result.folder
    assert folder is not None  # it was read
    return Found.of(record.result, places.of(folder), record.unchecked)


class Places:
    """Names of folders, relative to those that the user named.

    With the name of that one where there are several, or it is a run's.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        named = [Path(folder) for folder in folders]
        self._roots = [place.parent if place.name == RECORD else place for place in named]

    def of(self, folder: Path) -> str:
        """Return the name of a folder below one of the roots."""
        root = next(root for root in self._roots if folder.is_relative_to(root))
        return printable((self._before(root) + folder.relative_to(root).as_posix()).removesuffix("/."))

    def within(self, sentence: str) -> str:
        """Return a sentence with the names of the folders that it has the paths of."""
        for root in self._roots:
            sentence = sentence.replace(f"{root}/", self._before(root))
        return sentence

    def _before(self, root: Path) -> str:
        is_run = (root / RECORD).is_file()
        return f"{root.resolve().name}/" if is_run or len(self._roots) > 1 else ""
