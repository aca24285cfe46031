"""Records of runs below some folders: each run once, and by name what is no record that can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.results import RECORD, Result, digest_of, read_result
from upstream.errors import UserError
from upstream.text import printable


@dataclass(frozen=True)
class Found:
    """A record.

    place: its folder, relative to the one that was named. digest: of its content, which identifies the run.
    """

    place: str
    digest: str
    result: Result


@dataclass(frozen=True)
class Refused:
    """A record that is left out, and the sentence that says why."""

    place: str
    why: str


@dataclass(frozen=True)
class Gathered:
    """The records, those that were refused, and how many were copies of a run that was there already."""

    records: tuple[Found, ...]
    refused: tuple[Refused, ...] = ()
    copies: int = 0


def gathered(folders: Sequence[str | Path]) -> Gathered:
    """Return the records below some folders (or of one run: its folder, its result.json); a run in two of them once.

    Raises UserError for a folder that does not exist.
    """
    records: dict[str, Found] = {}
    refused: list[Refused] = []
    copies = 0
    for path, place in paths_in(folders):
        try:
            result = read_result(path)
        except UserError as error:
            refused.append(Refused(place, str(error).replace(str(path), f"{place}/{RECORD}")))
            continue
        digest = digest_of(result.model_dump(mode="json", by_alias=True))
        copies += digest in records
        records.setdefault(digest, Found(place, digest, result))
    ordered = sorted(records.values(), key=lambda one: (one.place, one.digest))
    return Gathered(tuple(ordered), tuple(sorted(refused, key=lambda one: one.place)), copies)


def paths_in(folders: Sequence[str | Path]) -> Iterator[tuple[Path, str]]:
    """Yield every record with the name of its place, which begins with that of its folder where several are named."""
    places = [Path(folder) for folder in folders]
    for place in places:
        if not place.exists():
            raise UserError(
                f"There is no folder {place}; name the folders that runs wrote with --results, such as results."
            )
    for place in places:
        root = place.parent if place.is_file() else place
        before = f"{root.resolve().name}/" if len(places) > 1 else ""
        for path in [place] if place.is_file() else sorted(place.rglob(RECORD)):
            yield path, printable(before + path.parent.relative_to(root).as_posix())
