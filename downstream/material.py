"""A corpus as a recipe uses it: the utterances that carry one of its classes, divided into folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from downstream.audio import survey
from downstream.corpora import splits
from downstream.corpora.catalog import load_corpus
from downstream.corpora.splits import Split
from downstream.corpora.table import Corpus, Utterance
from downstream.recipe import Recipe
from downstream.results import CorpusRecord, SplitRecord
from upstream.encode import Item
from upstream.errors import MendableError


@dataclass(frozen=True)
class Material:
    """A corpus as a recipe uses it: utterances that carry one of the classes, with their audio's digest and length."""

    corpus: Corpus
    column: str
    utterances: tuple[Utterance, ...]
    classes: tuple[str, ...]
    targets: tuple[int, ...]
    items: tuple[Item, ...]
    split: Split

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the utterances used, audio included."""
        digests = {u.id: item.digest for u, item in zip(self.utterances, self.items, strict=True)}
        return replace(self.corpus, utterances=self.utterances).fingerprint(digests)

    def describe(self, indices: Sequence[int]) -> SplitRecord:
        """Utterances, seconds, speakers and classes of some of the utterances."""
        count = Counter(self.targets[i] for i in indices)
        return SplitRecord(
            utterances=len(indices),
            seconds=round(sum(self.items[i].seconds for i in indices), 2),
            speakers=len({self.utterances[i].speaker for i in indices}),
            labels={name: count[number] for number, name in enumerate(self.classes)},
        )

    def record(self) -> CorpusRecord:
        """The corpus's part of the record."""
        corpus = self.corpus
        return CorpusRecord(
            name=corpus.name,
            title=corpus.title,
            licence=corpus.licence,
            source=corpus.source,
            revision=corpus.revision,
            synthetic=corpus.synthetic,
            fingerprint=self.fingerprint,
            coverage=corpus.coverage(),
            label_column=self.column,
            used=self.describe(range(len(self.utterances))),
            split_rule=self.split.rule,
            notes=[*corpus.notes, *self.split.notes],
        )


def read_material(recipe: Recipe, data: Path | None, cache: Path) -> Material:
    """Read the corpus, keep what carries one of the recipe's classes, divide it, and digest its audio.

    data: folder of the corpus, None for its environment variable or the hub; cache: for the synthesised one.
    """
    corpus = load_corpus(recipe.corpus.name, data, cache)
    column = label_column(corpus, recipe.corpus.label)
    labelled = [u for u in corpus.utterances if column in u.labels]
    classes = recipe.corpus.classes or tuple(sorted({u.labels[column] for u in labelled}))
    used = tuple(sorted((u for u in labelled if u.labels[column] in classes), key=lambda u: u.id))
    found = Counter(u.labels[column] for u in used)
    absent = [name for name in classes if not found[name]]
    if absent or len(classes) < 2:
        there = ", ".join(sorted({u.labels[column] for u in labelled})) or "none"
        raise MendableError(
            f"{corpus.title} in {corpus.source} has no utterance of class {', '.join(absent) or '(any other)'}; the "
            f"labels in its column {column!r} are: {there}. Choose classes with -o corpus.classes=[…]."
        )
    number = {name: index for index, name in enumerate(classes)}
    surveyed = survey(u.audio for u in tqdm(used, "reading", leave=False, disable=None))
    items = tuple(
        Item(u.audio.source.name, u.audio, digest, seconds) for u, (digest, seconds) in zip(used, surveyed, strict=True)
    )
    targets = tuple(number[u.labels[column]] for u in used)
    return Material(corpus, column, used, classes, targets, items, divide(used, recipe))


def label_column(corpus: Corpus, wanted: Sequence[str]) -> str:
    """The first of the recipe's label columns that the corpus has."""
    columns = sorted({column for u in corpus.utterances for column in u.labels})
    for column in wanted:
        if column in columns:
            return column
    raise MendableError(
        f"{corpus.title} in {corpus.source} has no label column {' or '.join(wanted)}; found "
        f"{', '.join(columns) or 'none'}. "
        "Name one with -o corpus.label=…, or choose another corpus with -c."
    )


def divide(utterances: Sequence[Utterance], recipe: Recipe) -> Split:
    """The folds by the recipe's rule."""
    if recipe.split.rule == "published":
        return splits.published(utterances)
    if recipe.split.rule == "superb_er":
        return splits.superb_er(utterances, splits.superb_lists() if recipe.corpus.name == "iemocap" else None)
    has_sessions = all(u.group is not None for u in utterances)
    return splits.speaker_folds(utterances, None if has_sessions else recipe.split.folds)
