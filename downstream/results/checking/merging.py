"""Records of several folders as one list: each one checked, held against the others, and there once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.results.checking.checked import CheckedRecord, examined
from downstream.results.checking.others import OtherRecords
from downstream.results.folder import RECORD
from downstream.results.integrity import digest_of
from upstream.errors import UserError

ORDER = "One of the two is wrong, and the one that was found first is kept: name the folder that you trust most first."


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
    kept: dict[str, CheckedRecord] = {}  # by the digest of all that the record says
    refused: list[Refused] = []
    repeated: list[Path] = []
    others = OtherRecords()
    for path in records_below(folders):
        try:
            one, items = examined(path, families)
        except UserError as error:
            refused.append(Refused(path, str(error)))
            continue
        digest = digest_of(one.result.model_dump(mode="json", by_alias=True))
        if digest in kept:
            repeated.append(path)
        elif contradicting := list(others.contradictions(one.result, items)):
            refused.append(Refused(path, f"{path} contradicts another record: {'; '.join(contradicting)}. {ORDER}"))
        else:
            kept[digest] = one
            others.add(path, one.result, items)
    return Records(tuple(kept.values()), tuple(refused), tuple(repeated))


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
