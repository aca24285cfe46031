"""Scores computed again from the predictions beside a record, and the test sets counted in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from downstream.results.artifacts import setting_name
from downstream.results.checking.numbers import alike, name_of, nonzero
from downstream.results.read_items import HeadItems, heads_with_rows, prediction_rows_of
from downstream.results.record import Result, SplitRecord
from downstream.statistics import NOBODY, Items
from downstream.tasks import Family, HeadOnPart
from upstream.errors import UserError

Row = Mapping[str, Any]


class TestedAgain:
    """The test of a record's heads, read back from its files and computed again.

    unchecked: afterwards, sentences on heads whose predictions are not there. found: the items of the others.
    """

    def __init__(self, record: Result, family: Family) -> None:
        self._record, self._family = record, family
        self.unchecked: list[str] = []
        self.found: list[HeadItems] = []

    def contradictions(self) -> Iterator[str]:
        """Yield a clause for each score that predictions do not give, and for each count that they contradict."""
        record = self._record
        try:
            rows = prediction_rows_of(record)
        except UserError as error:
            self.unchecked.append(f"Its scores were not computed again: {error}")
            return
        yield from of_unknown_heads(record, list(rows))
        tested = []
        for head, place, own in heads_with_rows(record, rows):
            items = self._items(place, own)
            if isinstance(items, str):
                yield f"the predictions of the head {name_of(head)} on the part {place.part} {items}"
            elif items is not None:
                self.found.append(HeadItems(head, place.part, items))
                tested.append((self.found[-1], place, own))
        yield from of_folds(record, self.found)
        for one in tested:
            yield from self._of_part(*one)

    def _items(self, place: HeadOnPart, rows: Sequence[Row]) -> Items | str | None:
        """Return the items of a head; None, and say so, where they are not there; a clause where they are damaged."""
        try:
            items = self._family.items(self._record.details, place, rows)
        except UserError as error:
            self._leave_unchecked(str(error))
            return None
        except (LookupError, ValueError, TypeError, AttributeError, AssertionError, OSError) as error:
            return f"are not what this family writes ({type(error).__name__}: {error})"
        if len(items):
            return items
        self._leave_unchecked("its predictions are not beside it.")
        return None

    def _leave_unchecked(self, why: str) -> None:
        sentence = f"Its scores were not computed again: {why}"
        if sentence not in self.unchecked:
            self.unchecked.append(sentence)

    def _of_part(self, one: HeadItems, place: HeadOnPart, rows: Sequence[Row]) -> Iterator[str]:
        """Yield clauses on one head on one test part."""
        where = f"of the head {name_of(one.head)} on the part {one.part}"
        try:
            again = {metric: one.items.value(metric) for metric in place.metrics}
            if place.details:  # not of every part in records of schema 3
                yield from (f"{clause} {where}" for clause in self._family.contradictions(place, one.items, rows))
        except (LookupError, ValueError, TypeError, AssertionError) as error:
            yield f"the predictions {where} are not what this family writes ({type(error).__name__}: {error})"
            return
        for metric, value in place.metrics.items():
            if not alike(value, again[metric]):
                yield f"the {metric} {where} is {value:.9g}, and its predictions give {again[metric]:.9g}"


def of_unknown_heads(record: Result, keys: Sequence[tuple[str, int, int | str]]) -> Iterator[str]:
    """Yield a clause for each head that has predictions and is none of the record's."""
    known = {(head.fold, head.seed, setting_name(head.setting)) for head in record.heads}
    for fold, seed, layer in keys:
        if (fold, seed, layer) not in known:
            yield f"there are predictions of {fold}, seed {seed} and layer {layer}, and no such head"


def of_folds(record: Result, found: Sequence[HeadItems]) -> Iterator[str]:
    """Yield clauses where heads of one fold were tested on other items, and where these are not those that it lists."""
    first: dict[tuple[str, str], HeadItems] = {}
    for one in found:
        if len(set(one.items.ids)) < len(one.items):
            yield f"the predictions of the head {name_of(one.head)} on the part {one.part} have an item twice"
        other = first.setdefault((one.head.fold, one.part), one)
        if sorted(test_set(one.items)) != sorted(test_set(other.items)):
            yield (
                f"the heads {name_of(other.head)} and {name_of(one.head)} were tested on other items, or on the same "
                f"with other truths, on the part {one.part}"
            )
    for fold in record.folds:
        parts = fold.parts or {record.primary.part: fold.test}
        for part, listed in parts.items():
            if (fold.name, part) in first:
                items = first[fold.name, part].items
                yield from (f"{clause} on the part {part} of {fold.name}" for clause in of_counts(items, listed))


def test_set(items: Items) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return what was tested, whoever answered: id, truth and clusters of every item."""
    return list(zip(items.ids, items.truths, items.clusters, strict=True))


def of_counts(items: Items, listed: SplitRecord) -> Iterator[str]:
    """Yield clauses where the items do not have the utterances, classes, words or speakers that a record lists."""
    are_pairs = any(len(clusters) > 1 for clusters in items.clusters)
    utterances = {name for pair in items.ids for name in pair.split(" ")} if are_pairs else set(items.ids)
    if len(utterances) != listed.utterances:
        yield f"there are predictions for {len(utterances)} utterances instead of {listed.utterances}"
    if listed.labels and Counter(items.truths) != Counter(nonzero(listed.labels)):
        yield "the predictions have other numbers of utterances of each class than the record"
    if listed.words is not None and sum(len(truth.split()) for truth in items.truths) != listed.words:
        yield f"the transcripts of the predictions do not have the {listed.words} words of the record"
    known = {one for clusters in items.clusters for one in clusters if not one.startswith(NOBODY)}
    if len(known) != listed.speakers:
        yield f"there are predictions for {len(known)} known speakers instead of {listed.speakers}"
