"""Records of several folders as one list: each one checked, held against the others, and there once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.results.checking.checked import CheckedRecord, checked
from downstream.results.folder import RECORD
from upstream.errors import UserError


@dataclass(frozen=True)
class Refused:
    """A record that is not believed. why: a sentence that names it, and says what contradicts what."""

    path: Path
    why: str


@dataclass(frozen=True)
class Records:
    """Records of several folders.

    kept: those without contradictions, with what could not be checked of each. refused: the others.
    repeated: paths of records that were found before, in a folder that was named earlier.
    """

    kept: tuple[CheckedRecord, ...]
    refused: tuple[Refused, ...]
    repeated: tuple[Path, ...]


def checked_records(folders: Iterable[str | Path], families: Sequence[str] = ()) -> Records:
    """Return the records below some folders, each one checked and there once.

    Folders are named in the order of trust: of two records that contradict each other, the one that was found first is
    kept. families: as in `checked`. Raises UserError for a folder that is not there.
    """
    kept: list[CheckedRecord] = []
    refused: list[Refused] = []
    repeated: list[Path] = []
    for path in records_below(folders):
        try:
            one = checked(path, families)
        except UserError as error:
            refused.append(Refused(path, str(error)))
            continue
        kept.append(one)
    return Records(tuple(kept), tuple(refused), tuple(repeated))


def records_below(folders: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the paths of all records below some folders, or that are named themselves, each one once."""
    seen: set[Path] = set()
    for named in map(Path, folders):
        if not named.exists():
            raise UserError(f"There is no folder {named}; name folders of results, as runs wrote them (--results).")
        for path in [named] if named.is_file() else sorted(named.rglob(RECORD)):
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path
