"""Pairs of recordings to compare: all of them, or those of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from downstream.data import read_lines
from downstream.prediction.recordings import NewRecording
from upstream.errors import UserError

MOST = 1_000_000  # pairs that are compared where no list names them

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class NamedPairs:
    """Pairs by the names of their recordings; where: the list, for messages. folder: that its files lie in."""

    pairs: Sequence[tuple[str, str]]
    where: str
    folder: Path


def all_pairs(count: int) -> Pairs:
    """Return all pairs of so many recordings; raise UserError for one alone, and for too many."""
    if count < 2:
        raise UserError("One recording has nothing to be compared with; name two or more.")
    pairs = count * (count - 1) // 2
    if pairs > MOST:
        raise UserError(
            f"{count:,} recordings are {pairs:,} pairs, more than the {MOST:,} that are compared unasked; name pairs "
            "with --pairs FILE, or take --embeddings."
        )
    return list(combinations(range(count), 2))


def named_pairs(given: str | Path | Sequence[tuple[str, str]]) -> NamedPairs:
    """Return pairs of names, or those of a file: two a line, with a tab between them or else blanks.

    Raises UserError for a line with another number of names, and where there is no pair.
    """
    if not isinstance(given, str | Path):
        pairs, where, folder = [tuple(map(str, pair)) for pair in given], "The list of pairs", Path()
    else:
        folder, where = Path(given).parent, str(given)
        pairs = [fields_of(line) for line in read_lines(Path(given)) if line.strip()]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise UserError(
                f"Pair {number} of {where} has {len(pair)} names ({', '.join(pair)[:100]}); write two, with a tab "
                "between them where a name has blanks."
            )
    if not pairs:
        raise UserError(f"{where} names no pair; write two recordings a line.")
    return NamedPairs([(one, other) for one, other in pairs], where, folder)


def fields_of(line: str) -> tuple[str, ...]:
    """Return the names in a line."""
    return tuple(name.strip() for name in line.split("\t")) if "\t" in line.strip() else tuple(line.split())


def files_of(named: NamedPairs) -> list[str]:
    """Return the distinct files that pairs name, which lie beside their list or in the current folder."""
    names = dict.fromkeys(name for pair in named.pairs for name in pair)
    return [str(named.folder / name) if (named.folder / name).is_file() else name for name in names]


def places_of(named: NamedPairs, recordings: Sequence[NewRecording]) -> Pairs:
    """Return the places of both sides of each pair among the recordings.

    A side is named by the recording's name, or by its file as it lies beside the list or in the current folder.

    Raises UserError for a name that is none of theirs.
    """
    places: dict[str, int] = {}
    for place, one in enumerate(recordings):
        for name in (one.name, *(() if one.path is None else (one.path, str(Path(one.path).resolve())))):
            places.setdefault(name, place)

    def place_of(name: str) -> int:
        found = next((spelling for spelling in spellings(name, named.folder) if spelling in places), None)
        if found is None:
            raise UserError(
                f"{named.where} names {name!r}, which is none of the {len(recordings)} recordings; write their names, "
                f"such as {recordings[0].name!r}, or their files."
            )
        return places[found]

    return [(place_of(one), place_of(other)) for one, other in named.pairs]


def spellings(name: str, folder: Path) -> Iterator[str]:
    """Yield a name as it is, and as a file in the folder and in the current one."""
    yield name
    yield str((folder / name).resolve())
    yield str(Path(name).resolve())
