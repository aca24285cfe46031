"""A dataset: the utterances of a corpus that a recipe uses, divided into folds, with the digest of their audio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from downstream.data.choice import Choice
from downstream.data.corpora.catalog import load_corpus
from downstream.data.corpus import Corpus, Utterance
from downstream.data.corpus_inspection import inspected_items, recordings_kept
from downstream.data.dataset_notes import dataset_notes
from downstream.data.division import depends_on_audio, divide, rule_for, unused_parts
from downstream.data.effects import Effects
from downstream.data.garbage_collection import garbage_collection_paused
from downstream.data.repeated_audio import contradictions, repeated_audio
from downstream.data.shared_speakers import speaker_caveats
from downstream.data.splits import Fold, Split
from downstream.recipes import EffectsSettings, Recipe
from downstream.statistics import cluster_of
from upstream.encode import Item
from upstream.errors import UserError
from upstream.text import counted

TEST = "test"  # name of a test set whose corpus names no parts of it
DEVELOPMENT = "dev"
GIVEN = (
    "The corpus was given in Python and lies in no file that is named here; its fingerprint tells whether another is "
    "the same."
)

AnyValue = TypeVar("AnyValue")


class Targets:
    """What a family learns of each utterance; every family has a subclass, and by default there is nothing to know."""

    def class_numbers(self, indices: Sequence[int]) -> list[int]:
        """Return the class of each utterance, for sampling that is balanced over classes."""
        raise NotImplementedError(f"{type(self).__name__} has no classes to balance")

    def labels(self, indices: Sequence[int]) -> dict[str, int]:
        """Return how many of the utterances each class has; empty where nothing is classified."""
        return {}

    def words(self, indices: Sequence[int]) -> int | None:
        """Return the number of words in the transcripts of the utterances; None where no text is learned."""
        return None

    def further_test_utterances(self, fold: Fold) -> tuple[int, ...]:
        """Return utterances beside the test set that are encoded for the test of a fold (a cohort)."""
        return ()

    def question(self) -> list[str]:
        """Return what identifies a run beside settings, split and audio, such as the rule that drew trials."""
        return []


@dataclass(frozen=True)
class Dataset:
    """The utterances that a recipe uses, by index, with their audio's digest and length.

    column, classes, labels: as in `Choice`.
    items: every utterance as it is encoded.
    targets: what the family learns of them.
    notes: what a reader of the score should know of how this was made.
    """

    corpus: Corpus
    column: str
    utterances: tuple[Utterance, ...]
    items: tuple[Item, ...]
    split: Split
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    targets: Targets = field(default_factory=Targets)
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the utterances used, audio included."""
        digests = {u.id: item.digest for u, item in zip(self.utterances, self.items, strict=True)}
        return replace(self.corpus, utterances=self.utterances).fingerprint(digests)

    @cached_property
    def speaker_caveats(self) -> list[str]:
        """Sentences on speakers who are, or may be, in training and test; none where the split is speaker-disjoint."""
        return speaker_caveats(self.split, self.utterances)

    def cluster(self, index: int) -> str:
        """Return what an utterance shares with others that depend on it: its speaker, else itself alone."""
        utterance = self.utterances[index]
        return cluster_of(utterance.speaker, utterance.id, utterance.speech)


@dataclass(frozen=True)
class Part:
    """Utterances that are evaluated together: the development set of a fold, or one part of its test set.

    name: "dev"; of a test the corpus's name of the part, or "test". is_test: which of the two it is.
    """

    fold: Fold
    name: str
    utterances: tuple[int, ...]
    is_test: bool


def development_part(fold: Fold) -> Part:
    """Return the development set of a fold."""
    return Part(fold, DEVELOPMENT, fold.dev, is_test=False)


def parts_of_test(dataset: Dataset, fold: Fold, named: Sequence[str]) -> list[Part]:
    """Return the parts of a fold's test set that a recipe names, in its order; the first one's score is primary.

    named: `split.test` of the recipe. Utterances of no named part form one more part, "test".
    """
    order = {name: number for number, name in enumerate(named)}
    found: dict[str, list[int]] = {}
    for index in fold.test:
        name = dataset.utterances[index].part
        found.setdefault(name if name is not None and name in order else TEST, []).append(index)
    return [
        Part(fold, name, tuple(found[name]), is_test=True)
        for name in sorted(found, key=lambda name: order.get(name, len(order)))
    ]


class Chooser(Protocol):
    """The half of a family that makes a dataset of a corpus (`tasks.base.Family`)."""

    def choose(self, corpus: Corpus) -> Choice:
        """Return the utterances that the task can be learned from."""

    def finish(self, dataset: Dataset) -> Dataset:
        """Return the dataset with its targets."""


@garbage_collection_paused()
def read_dataset(
    recipe: Recipe,
    family: Chooser,
    data: Path | None,
    cache: Path,
    progress: bool = True,
    check_audio: bool = False,
    corpus: Corpus | None = None,
) -> Dataset:
    """Read the corpus of a recipe, choose utterances, divide them, and digest their audio.

    data: folder of the corpus, None for its environment variable or the hub; cache: for the synthesised corpus, and
        for what was found of recordings.
    progress: show a bar while audio is read. check_audio: read all of it, also what has not changed since it was read.
    corpus: one that was read already, in place of the recipe's.
    Raises UserError where the corpus is not there or cannot serve the recipe.
    """
    given = () if corpus is None else (GIVEN,)
    corpus = corpus or load_corpus(recipe.corpus.name, data, cache)
    with telling(corpus):
        choice = family.choose(with_effects(corpus, recipe.corpus.effects))
        refuse_lost_parts(corpus, choice, recipe)
        if depends_on_audio(rule_for(recipe.split, choice.utterances)):
            items = inspected_items(choice.utterances, recordings_kept(cache), progress, check_audio)
            choice = replace(choice, items=items)
        choice, split = only_used(*divide(choice, recipe))
    items = choice.items or inspected_items(choice.utterances, recordings_kept(cache), progress, check_audio)
    contradicting = contradictions(corpus, choice.column, choice.utterances, choice.labels, items)
    given_parts = () if corpus.synthetic else unused_parts(recipe.split, choice.utterances)
    equal = (*repeated_audio(split, choice.utterances, items), *contradicting)
    split = replace(split, notes=(*split.notes, *given_parts, *equal))
    split = without_short(split, items, recipe.split.longer_than)
    dataset = Dataset(
        corpus,
        choice.column,
        choice.utterances,
        items,
        split,
        classes=choice.classes,
        labels=choice.labels,
        notes=(*choice.notes, *dataset_notes(choice.column, choice.utterances, choice.labels), *given),
    )
    with telling(corpus):
        return family.finish(dataset)


@contextmanager
def telling(corpus: Corpus) -> Iterator[None]:
    """Add what the reader of the corpus noted to errors that are raised inside: they may be its consequence."""
    try:
        yield
    except UserError as error:
        if not corpus.notes or corpus.synthetic:
            raise
        raise UserError(f"{error} What was noted when {corpus.title} was read: {' '.join(corpus.notes)}") from error


def with_effects(corpus: Corpus, settings: EffectsSettings) -> Corpus:
    """Return the corpus with effects on every utterance."""
    effects = Effects(settings.gain, settings.remove_silence)
    if effects == Effects():
        return corpus
    return replace(
        corpus, utterances=tuple(replace(u, audio=replace(u.audio, effects=effects)) for u in corpus.utterances)
    )


def refuse_lost_parts(corpus: Corpus, choice: Choice, recipe: Recipe) -> None:
    """Raise UserError where the task can use nothing of a part that the corpus has and the split needs."""
    rule = recipe.split
    if rule.rule not in ("published", "superb_asv"):
        return
    needed = {*rule.train, *rule.dev, *rule.test, "train", "test"}
    here = Counter(part for u in corpus.utterances for part in {u.split, u.part} & needed)
    lost = here.keys() - {part for u in choice.utterances for part in (u.split, u.part)}
    for part in sorted(map(str, lost)):
        why = " ".join(choice.notes) or "None of them has what is learned."
        raise UserError(
            f"The {part} part of {corpus.title} in {corpus.source} has {counted(here[part], 'utterance')}, none of "
            f"which can be used. {why} Complete their column {choice.column}, or choose -o split.rule=speaker_folds."
        )


def only_used(choice: Choice, split: Split) -> tuple[Choice, Split]:
    """Return both without utterances that no fold uses, so that their recordings are not read."""
    used = split.used
    place = {old: new for new, old in enumerate(used)}

    def kept(values: tuple[AnyValue, ...]) -> tuple[AnyValue, ...]:
        return tuple(values[i] for i in used) if values else ()

    def moved(indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[i] for i in indices)

    folds = tuple(
        replace(fold, train=moved(fold.train), dev=moved(fold.dev), test=moved(fold.test)) for fold in split.folds
    )
    fewer = replace(choice, utterances=kept(choice.utterances), labels=kept(choice.labels), items=kept(choice.items))
    return fewer, replace(split, folds=folds)


def left_out(corpus: Corpus, used: Sequence[Utterance], why: str) -> tuple[str, ...]:
    """Return a sentence on utterances that cannot be used, or none; why: of several, such as "name no speaker"."""
    count = len(corpus.utterances) - len(used)
    if count == 1:
        return (f"Utterances that {why} were left out: 1.",)
    return (f"{count} utterances {why} and were left out.",) if count else ()


# ---------------------------------------------------------------- audio


def without_short(split: Split, items: Sequence[Item], longer_than: float) -> Split:
    """The split without training utterances that are not longer than so many seconds.

    Raises UserError where none of a fold is left.
    """
    folds = tuple(
        replace(fold, train=tuple(i for i in fold.train if items[i].seconds > longer_than)) for fold in split.folds
    )
    shorter = replace(split, folds=folds)
    dropped = len(split.trained) - len(shorter.trained)
    if not dropped:
        return split
    for fold in folds:
        if not fold.train:
            raise UserError(
                f"No training utterance of {fold.name} is longer than {longer_than:g} s; lower split.longer_than."
            )
    which = counted(dropped, "training utterance is", "training utterances are")
    note = f"{which} not longer than {longer_than:g} s, and left out."
    return replace(shorter, notes=(*split.notes, note))
