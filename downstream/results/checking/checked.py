"""A record that contradicts neither itself nor the files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.recipes import Recipe
from downstream.results.checking.choice import contradictions_of_choice
from downstream.results.checking.heads import contradictions_of_heads
from downstream.results.checking.intervals import IntervalsAgain
from downstream.results.checking.numbers import contradictions_of_numbers
from downstream.results.checking.recipe import contradictions_of_recipe
from downstream.results.checking.tested import TestedAgain
from downstream.results.checking.upstream import contradictions_of_upstream
from downstream.results.folder import HEADS, RECORD
from downstream.results.head_file import opened_heads
from downstream.results.integrity import altered
from downstream.results.read_items import HeadItems
from downstream.results.rebuilding import family_and_recipe
from downstream.results.record import Result, read_result
from downstream.tasks import Family, is_external, trusted
from upstream.errors import UserError

SHOWN = 3  # contradictions in a message
FIX = "Get the run's whole folder again from whoever made it, or compute it again: wavprobe replay {}"


@dataclass(frozen=True)
class CheckedRecord:
    """A record without contradictions.

    unchecked: a sentence on each thing that could not be checked, and what it would take.
    """

    result: Result
    unchecked: tuple[str, ...] = ()


def checked(path: str | Path, families: Sequence[str] = ()) -> CheckedRecord:
    """Return the record of a run, held against itself and the files beside it.

    path: of its folder, or of its result.json. families: "module.py:Family" of external families whose code is trusted,
    beside those that were trusted before (`downstream.tasks.trust`); code of others is not run, and what it would take
    to check a record of such a family is left unchecked.

    Raises UserError, with the record's path, where it cannot be read, was altered, or contradicts itself.
    """
    return examined(path, families)[0]


def examined(path: str | Path, families: Sequence[str] = ()) -> tuple[CheckedRecord, list[HeadItems]]:
    """Return a record as `checked` does, and what was tested of its heads, as far as that is beside it."""
    place = Path(path)
    place = place if place.name == RECORD else place / RECORD
    record = read_result(place)
    folder = place.parent
    changed = altered(folder, record.artifacts)
    if changed:
        raise refused(place, [f"{', '.join(changed)} changed since the run wrote it"])
    examination = Examination(record, folder, families)
    contradictions = list(examination.contradictions())
    if contradictions:
        raise refused(place, contradictions)
    return CheckedRecord(record, tuple(examination.unchecked)), examination.found


def refused(path: Path, contradictions: Sequence[str]) -> UserError:
    """Return the error for a record that contradicts itself."""
    more = len(contradictions) - SHOWN
    said = "; ".join(contradictions[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return UserError(f"{path} contradicts itself: {said}. {FIX.format(path.parent)}")


class Examination:
    """The checks of one record.

    Afterwards `unchecked` says what could not be checked, and `found` has what was tested.
    """

    def __init__(self, record: Result, folder: Path, families: Sequence[str]) -> None:
        self._record, self._folder, self._families = record, folder, families
        self.unchecked: list[str] = []
        self.found: list[HeadItems] = []

    def contradictions(self) -> Iterator[str]:
        """Yield a clause for each contradiction."""
        record = self._record
        if not record.has_digest:
            self.unchecked.append("It has no digest: an older version wrote it.")
        yield from contradictions_of_numbers(record)
        yield from contradictions_of_upstream(record)
        family, recipe = self._family_and_recipe()
        if recipe is not None:
            yield from contradictions_of_choice(record, recipe)
        if family is not None and recipe is not None:
            yield from contradictions_of_recipe(record, recipe, family)
            again = TestedAgain(record, family)
            yield from again.contradictions()
            intervals = IntervalsAgain(record, family, again.found)
            yield from intervals.contradictions()
            self.unchecked += [*again.unchecked, *intervals.unchecked]
            self.found = again.found
        yield from self._of_heads(family)

    def _family_and_recipe(self) -> tuple[Family | None, Recipe | None]:
        """Return family and recipe of the record; None, and say so, where they are not those of this version."""
        record = self._record
        given = None
        if is_external(record.task):
            given = next((one for one in self._families if Path(one).name == Path(record.task).name), None)
            given = given or trusted(record.task)
            if given is None:
                self.unchecked.append(
                    f"Its scores were not computed again: the code of {Path(record.task).name} is not part of "
                    f"wavprobe. Read it, and name the file that you trust: --family PATH/{Path(record.task).name}."
                )
                return None, None
        try:
            return family_and_recipe(record.task, record.recipe.resolved, given, self._folder / RECORD)
        except UserError as error:
            self.unchecked.append(f"Its scores were not computed again: {error}")
            return None, None

    def _of_heads(self, family: Family | None) -> Iterator[str]:
        path = self._folder / HEADS
        if not path.is_file():
            self.unchecked.append(f"Its heads are not beside it ({HEADS}), so its layer weights were not checked.")
            return
        try:
            with opened_heads(path) as tensors:
                yield from contradictions_of_heads(self._record, tensors, path, family)
        except UserError as error:
            yield str(error).rstrip(".")
