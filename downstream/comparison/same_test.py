"""Two scores can be compared where they come from the same test: the same items, with the same truths."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from downstream.comparison.side import Side
from downstream.statistics import Items
from upstream.errors import UserError
from upstream.text import counted, printable

SHOWN = 3  # items in a message
LONGEST = 40  # characters of a truth in a message
FIX = (
    "A comparison needs both runs on the same data, with the same split: make them with the same recipe, --data and "
    "settings, and another -u."
)


def refuse_other_test(one: Side, other: Side) -> None:
    """Raise UserError where two scores come from different tests; it says what differs."""
    if said := difference_of_tests(one, other):
        raise UserError(f"{one.place} and {other.place} cannot be compared: {said} {FIX}")


def difference_of_tests(one: Side, other: Side) -> str | None:
    """Return a sentence on what differs between the tests of two scores; None where they are the same."""
    if one.result.task != other.result.task:
        return f"one is of the task {one.result.task}, the other of {other.result.task}."
    if (one.metric, one.part) != (other.metric, other.part):
        return (
            f"one score is {one.metric} on {one.part}, the other {other.metric} on {other.part}; choose with --metric "
            "and --part."
        )
    corpora = [side.result.corpus for side in (one, other)]
    if corpora[0].name != corpora[1].name:
        return f"one was tested on {corpora[0].title}, the other on {corpora[1].title}."
    return of_items(one, other) or of_corpora(one, other)


def of_items(one: Side, other: Side) -> str | None:
    """Return a sentence on folds and items that differ."""
    folds, other_folds = ({head.fold: head.items for head in side.heads} for side in (one, other))
    if folds.keys() != other_folds.keys():
        return f"one has the folds {', '.join(folds)}, the other {', '.join(other_folds)}."
    for fold, items in folds.items():
        truths, other_truths = truths_of(items), truths_of(other_folds[fold])
        where = f"the test part {one.part}" + (f" of {fold}" if len(folds) > 1 else "")
        alone, of_other = truths.keys() - other_truths.keys(), other_truths.keys() - truths.keys()
        if alone or of_other:
            return (
                f"{where} has {counted(len(truths), 'item')} in the first and {counted(len(other_truths), 'item')} in "
                f"the second; {missing(alone, 'first')}, and {missing(of_other, 'second')}."
            )
        if wrong := [name for name, truth in truths.items() if other_truths[name] != truth]:
            shown = "; ".join(
                f"{name}: {short(truths[name])} and {short(other_truths[name])}" for name in wrong[:SHOWN]
            )
            return f"in {where} {counted(len(wrong), 'item has', 'items have')} another truth ({shown})."
    return None


def of_corpora(one: Side, other: Side) -> str | None:
    """Return a sentence on corpora whose fingerprints differ, though the names of items agree."""
    corpus, its_other = one.result.corpus, other.result.corpus
    if corpus.fingerprint == its_other.fingerprint:
        return None
    return (
        f"the tested items have the same names and truths, but the corpora differ in their recordings, or in what was "
        f"used of them: {corpus.title} with {corpus.used.utterances:,} utterances (fingerprint "
        f"{corpus.fingerprint[:8]}) and {its_other.title} with {its_other.used.utterances:,} "
        f"({its_other.fingerprint[:8]})."
    )


def truths_of(items: Items) -> Mapping[str, str]:
    """Return the truth of each item."""
    return dict(zip(items.ids, items.truths, strict=True))


def missing(names: Collection[str], whose: str) -> str:
    """Return how many items one run alone has, with the first of them."""
    if not names:
        return f"none is in the {whose} alone"
    more = ", …" if len(names) > SHOWN else ""
    return f"{len(names)} {'is' if len(names) == 1 else 'are'} in the {whose} alone ({listed(names)}{more})"


def listed(names: Collection[str]) -> str:
    """Return the first names in order."""
    return ", ".join(printable(name) for name in sorted(names)[:SHOWN])


def short(truth: str) -> str:
    """Return a truth, or its beginning."""
    return repr(truth if len(truth) <= LONGEST else f"{truth[:LONGEST]}…")
