"""The beginning of a suite: every recipe with its corpus, read before anything is computed, or why it cannot be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from downstream.experiment import chosen_recipe
from downstream.planned_run import ReadCorpus
from downstream.recipes import Options, Recipe, addressed, refuse_others
from downstream.suites.places import Places, can_be_fetched, folder_of, how_to_get
from downstream.suites.suite import Entry, Suite
from downstream.tasks import errors_named
from upstream.errors import UserError


@dataclass(frozen=True)
class Chosen:
    """A recipe of a suite with what is changed of it.

    label: no other recipe of the suite has it. changed: as texts, for the record.
    """

    label: str
    entry: Entry
    recipe: Recipe
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Readable:
    """A recipe whose corpus was read. options: of its runs."""

    label: str
    read: ReadCorpus
    options: Options


@dataclass(frozen=True)
class Unreadable:
    """A recipe that cannot be run. why: what to ask for, where, and how its folder must look, or what is wrong."""

    label: str
    recipe: str
    why: str


def choose_recipes(suite: Suite, overrides: Sequence[str]) -> tuple[list[Chosen], list[str]]:
    """Return every recipe of a suite with its overrides, and a sentence on each override that some of them lack.

    overrides: of all recipes that have their keys, or of one alone: "asr:training.steps=200".
    Raises UserError for one that none has, and for wrong values.
    """
    names = [entry.recipe for entry in suite.entries]
    refuse_others(overrides, names)
    said = [addressed(override, names) for override in overrides]
    common, lacking = [*suite.overrides, *(rest for name, rest in said if name is None)], dict[str, list[str]]()
    entries = [entry.changed(rest for name, rest in said if name == entry.recipe) for entry in suite.entries]
    labelled = zip(labels_of(suite), entries, strict=True)
    chosen = [with_overrides(label, entry, common, lacking) for label, entry in labelled]
    for override, labels in lacking.items():
        if len(labels) == len(suite.entries):
            first = suite.entries[0]
            chosen_recipe(first.recipe, first.all_overrides([override]))  # raises, with what is wrong
    notes = [
        f"{override} is left out of {', '.join(labels)}, which {'takes' if len(labels) == 1 else 'take'} "
        "no such setting."
        for override, labels in lacking.items()
    ]
    return chosen, notes


def labels_of(suite: Suite) -> list[str]:
    """Return a name of each recipe, with its overrides where another has the same corpus too."""
    short = [entry.label for entry in suite.entries]
    return [
        label if short.count(label) == 1 else f"{label}, {' '.join(entry.overrides) or 'as it is'}"
        for label, entry in zip(short, suite.entries, strict=True)
    ]


def with_overrides(label: str, entry: Entry, common: Sequence[str], lacking: dict[str, list[str]]) -> Chosen:
    """Return a recipe with those of the common overrides that it takes; the others are added to `lacking`.

    One that it would refuse alone may be right together with the others, so all are tried together first.
    """
    try:
        return Chosen(label, entry, *chosen_recipe(entry.recipe, entry.all_overrides(common)))
    except UserError:
        kept = [override for override in common if takes(entry, override)]
    for override in common:
        if override not in kept:
            lacking.setdefault(override, []).append(label)
    try:
        return Chosen(label, entry, *chosen_recipe(entry.recipe, entry.all_overrides(kept)))
    except UserError as error:
        raise UserError(f"{label}: {error}") from error


def takes(entry: Entry, override: str) -> bool:
    """Return True for an override that a recipe takes: it has the key, and the value fits it."""
    try:
        chosen_recipe(entry.recipe, entry.all_overrides([override]))
    except UserError:
        return False
    return True


def read_all(
    suite: Suite, chosen: Sequence[Chosen], typed: Places, options: Options
) -> tuple[list[Readable], list[Unreadable]]:
    """Read the corpus of every recipe; return those that can be run, and those that cannot with the reason."""
    corpora = {one.recipe.corpus.name for one in chosen}
    readable, unreadable = [], []
    for one in chosen:
        try:
            readable.append(read_one(one, suite, typed, options, is_alone=len(corpora) == 1))
        except UserError as error:
            unreadable.append(Unreadable(one.label, one.recipe.name, str(error)))
    return readable, unreadable


def read_one(one: Chosen, suite: Suite, typed: Places, options: Options, is_alone: bool) -> Readable:
    """Read the corpus of one recipe; raise UserError where it is not there or cannot serve."""
    corpus = one.recipe.corpus.name
    folder = folder_of(one.entry, corpus, suite, typed, is_alone)
    if folder is None and not can_be_fetched(corpus):
        raise UserError(how_to_get(corpus, typed.root or suite.root))
    own = replace(options, data=folder, overrides=one.changed)
    with errors_named(one.recipe.task):
        return Readable(one.label, ReadCorpus.of(one.recipe, own), own)


def said_of(unreadable: Sequence[Unreadable]) -> list[str]:
    """Return a line on each recipe that cannot be run."""
    return [f"{one.label} cannot be run: {one.why}" for one in unreadable]
