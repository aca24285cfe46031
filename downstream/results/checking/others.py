"""Records held against each other: what claims to be the same corpus, upstream or question must be the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from downstream.results.checking.tested import test_set
from downstream.results.integrity import digest_of
from downstream.results.read_items import HeadItems
from downstream.results.record import Result, SplitRecord, UpstreamRecord
from upstream.names import NAMED

# Sections of a recipe that change nothing of what is tested, and with what truths.
OF_HEADS = ("title", "deviations", "sweep", "store", "primary", "optimizer", "training", "head", "decoding")

Tested = dict[str, tuple[str, tuple[str, ...]]]  # truth and clusters of an item, by its id


class OtherRecords:
    """What records that are believed say of test sets, upstreams and questions, by digests."""

    def __init__(self) -> None:
        self._upstreams: dict[str, tuple[Path, UpstreamRecord]] = {}
        self._questions: dict[str, tuple[Path, Result]] = {}
        self._truths: dict[str, tuple[Path, Tested]] = {}
        self._test_sets: dict[str, tuple[Path, set[str], SplitRecord]] = {}

    def add(self, path: Path, record: Result, items: Sequence[HeadItems]) -> None:
        """Believe a record."""
        self._upstreams.setdefault(record.upstream.fingerprint, (path, record.upstream))
        self._questions.setdefault(record.learned, (path, record))
        for one in items:
            tested = tested_items(one)
            self._truths.setdefault(truths_key(record), (path, {}))[1].update(tested)
            if not are_pairs(one):  # trials may come from another list
                self._test_sets.setdefault(test_set_key(record, one), (path, set(tested), record.corpus.used))

    def contradictions(self, record: Result, items: Sequence[HeadItems]) -> Iterator[str]:
        """Yield a clause for each contradiction of a record and those that are believed."""
        yield from self._of_upstream(record)
        yield from self._of_question(record)
        yield from self._of_items(record, items)

    def _of_upstream(self, record: Result) -> Iterator[str]:
        own = record.upstream
        path, other = self._upstreams.get(own.fingerprint, (None, own))
        for name in ("layers", "dim", "stride", "random_init"):
            if getattr(own, name) != getattr(other, name):
                yield (
                    f"its upstream has {name} {getattr(own, name)} and the fingerprint of {path}, where it is "
                    f"{getattr(other, name)}"
                )
        names = [one.name.partition("@")[0] for one in (own, other)]
        if not own.random_init and len(set(names)) > 1 and all(name in NAMED for name in names):
            yield f"its upstream is called {own.name} and has the fingerprint of {path}, where it is {other.name}"

    def _of_question(self, record: Result) -> Iterator[str]:
        path, other = self._questions.get(record.learned, (None, record))
        for title, own, theirs in (
            ("upstream", record.upstream.fingerprint, other.upstream.fingerprint),
            ("precision", record.upstream.dtype, other.upstream.dtype),
            ("corpus", record.corpus.fingerprint, other.corpus.fingerprint),
        ):
            if own != theirs:
                yield f"its heads are those of {path} by their digest (learned), and its {title} is another one"

    def _of_items(self, record: Result, items: Sequence[HeadItems]) -> Iterator[str]:
        path, known = self._truths.get(truths_key(record), (None, {}))
        for one in items:
            own = tested_items(one)
            for name in own.keys() & known.keys():
                if own[name] != known[name]:
                    yield (
                        f"the truth of {name} is {said(own[name])}, and {said(known[name])} in {path}, which has the "
                        "same corpus by its fingerprint"
                    )
                    return
            same_split = None if are_pairs(one) else self._test_sets.get(test_set_key(record, one))
            if same_split is not None:
                yield from of_one_split(record, one, *same_split)


def of_one_split(record: Result, one: HeadItems, path: Path, tested: set[str], used: SplitRecord) -> Iterator[str]:
    """Yield clauses on a record that claims corpus and split of another one: its test set, and what both use.

    path, tested, used: of the other one; ids of its test set, and what its recipe uses of the corpus.
    """
    claim = f"{path}, which has the same corpus by its fingerprint, and the same split"
    if set(one.items.ids) != tested:
        yield f"it was tested on other utterances of {one.head.fold} than {claim}"
    if record.corpus.used != used:
        own = record.corpus.used
        yield (
            f"it uses {own.utterances} utterances ({own.seconds:g} s) of the corpus, and {used.utterances} "
            f"({used.seconds:g} s) are used by {claim}"
        )


def tested_items(one: HeadItems) -> Tested:
    """Return truth and clusters of a head's items, by their ids."""
    return {name: (truth, clusters) for name, truth, clusters in test_set(one.items)}


def are_pairs(one: HeadItems) -> bool:
    """Return True for trials."""
    return any(len(clusters) > 1 for clusters in one.items.clusters)


def said(item: tuple[str, tuple[str, ...]]) -> str:
    """Return truth and clusters of an item in words."""
    truth, clusters = item
    return f"{truth!r:.60} ({', '.join(clusters)})"


def truths_key(record: Result) -> str:
    """Return a digest of all that the truths of utterances depend on."""
    resolved: dict[str, Any] = record.recipe.resolved
    classes = {name: value for name, value in resolved["corpus"].items() if name != "name"}
    same = [record.task, record.corpus.label_column, classes, resolved.get("text")]
    return digest_of([record.corpus.fingerprint, *same])


def test_set_key(record: Result, one: HeadItems) -> str:
    """Return a digest of all that the test set of a fold depends on."""
    settings = {name: value for name, value in record.recipe.resolved.items() if name not in OF_HEADS}
    return digest_of([record.corpus.fingerprint, settings, one.head.fold, one.part])
