"""A corpus as a recipe uses it: its utterances with what is to be learned of them, divided into folds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from downstream.audio import survey
from downstream.corpora import protocol_splits, splits
from downstream.corpora.catalog import load_corpus
from downstream.corpora.splits import Split
from downstream.corpora.table import Corpus, Utterance
from downstream.effects import Effects
from downstream.learnable import Learnable, choose_utterances
from downstream.recipe import Recipe
from downstream.results import CorpusRecord, SplitRecord
from downstream.speakers.trial_plan import plan_cohorts, plan_trials
from downstream.speakers.trials import Trials
from upstream.encode import Item
from upstream.errors import MendableError
from upstream.files import write_atomically

DURATIONS = "durations.json"  # in the store's folder


@dataclass(frozen=True)
class Material:
    """A corpus as a recipe uses it, with the digest and length of its audio.

    column: what is learned: a column of labels, "text" or "speaker".
    classes, targets: the classes, and the number of every utterance's own; of verification the speakers that are
        trained on, -1 for others; empty where texts are learned.
    texts: normalised transcript of every utterance; empty where none is learned.
    trials: of verification, by the utterances that they are among.
    cohorts: of verification whose scores are normalised, the training utterances of each fold that serve for it.
    notes: what a reader of the score should know of how this was made.
    """

    corpus: Corpus
    column: str
    utterances: tuple[Utterance, ...]
    classes: tuple[str, ...]
    targets: tuple[int, ...]
    items: tuple[Item, ...]
    split: Split
    texts: tuple[str, ...] = ()
    trials: Mapping[tuple[int, ...], Trials] = field(default_factory=dict)
    cohorts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the utterances used, audio included."""
        digests = {u.id: item.digest for u, item in zip(self.utterances, self.items, strict=True)}
        return replace(self.corpus, utterances=self.utterances).fingerprint(digests)

    def describe(self, indices: Sequence[int]) -> SplitRecord:
        """Utterances, seconds, speakers, classes and words of some of the utterances."""
        count = Counter(self.targets[i] for i in indices) if self.column != "speaker" and self.classes else Counter()
        return SplitRecord(
            utterances=len(indices),
            seconds=round(sum(self.items[i].seconds for i in indices), 2),
            speakers=len({self.utterances[i].speaker for i in indices if self.utterances[i].speech}),
            labels={name: count[number] for number, name in enumerate(self.classes)} if count else {},
            words=sum(len(self.texts[i].split()) for i in indices) if self.texts else None,
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
            used=self.describe(self.split.used),
            split_rule=self.split.rule,
            notes=[*corpus.notes, *self.split.notes, *self.notes],
        )


def read_material(recipe: Recipe, data: Path | None, cache: Path) -> Material:
    """Read the corpus, keep what can be learned from, divide it, and digest its audio.

    data: folder of the corpus, None for its environment variable or the hub; cache: for the synthesised one.
    """
    corpus = load_corpus(recipe.corpus.name, data, cache)
    learnable = choose_utterances(recipe, with_effects(corpus, recipe))
    learnable, split = only_used(*divide(learnable, recipe))
    divided = learnable.utterances
    items = surveyed(divided, cache / DURATIONS)
    split = replace(split, notes=(*split.notes, *repeated_audio(split, items)))
    split = without_short(split, items, recipe.split.longer_than)
    trials: Mapping[tuple[int, ...], Trials] = {}
    cohorts: Mapping[str, tuple[int, ...]] = {}
    classes, targets = learnable.classes, learnable.targets
    if recipe.task == "verification":
        split, trials = plan_trials(split, divided, corpus, recipe)
        cohorts = plan_cohorts(split, divided, recipe.trials)
        classes, targets = training_speakers(divided, split)
    return Material(
        corpus=corpus,
        column=learnable.column,
        utterances=divided,
        classes=classes,
        targets=targets,
        items=items,
        split=split,
        texts=learnable.texts,
        trials=trials,
        cohorts=cohorts,
        notes=learnable.notes,
    )


def with_effects(corpus: Corpus, recipe: Recipe) -> Corpus:
    """The corpus with the recipe's effects on every utterance."""
    effects = Effects(recipe.corpus.effects.gain, recipe.corpus.effects.remove_silence)
    return replace(
        corpus, utterances=tuple(replace(u, audio=replace(u.audio, effects=effects)) for u in corpus.utterances)
    )


def surveyed(utterances: Sequence[Utterance], durations: Path) -> tuple[Item, ...]:
    """Every utterance as it is extracted, with digest and length; recordings are read for it.

    durations: where the lengths of utterances without their silence are kept, which takes decoding to find out.
    """
    known = read_durations(durations)
    found = survey((u.audio for u in utterances), known)
    shown = tqdm(found, "reading", len(utterances), leave=False, disable=None)
    items = tuple(
        Item(utterance.audio.source.name, utterance.audio, digest, seconds)
        for utterance, (digest, seconds) in zip(utterances, shown, strict=True)
    )
    measured = {item.digest: item.seconds for item, u in zip(items, utterances, strict=True) if u.audio.effects.silence}
    if measured.keys() - known.keys():
        durations.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(durations, json.dumps(known | measured).encode())
    return items


def read_durations(path: Path) -> dict[str, float]:
    """Seconds by digest; none where nothing was kept, or what was kept is damaged and is measured again."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def divide(learnable: Learnable, recipe: Recipe) -> tuple[Learnable, Split]:
    """The folds by the recipe's rule, and the utterances; SUPERB's keyword spotting adds windows of noise to these."""
    rule, utterances = recipe.split, learnable.utterances
    if rule.rule == "superb_ks":
        assert recipe.corpus.silence is not None
        widened, split = protocol_splits.superb_ks(utterances, learnable.targets, recipe.corpus.silence.seconds)
        added = (learnable.classes.index(u.labels[learnable.column]) for u in widened[len(utterances) :])
        return replace(learnable, utterances=widened, targets=(*learnable.targets, *added)), split
    parts = {"train": rule.train, "dev": rule.dev, "test": rule.test}
    if rule.rule == "superb_asv":
        return learnable, protocol_splits.superb_asv(utterances, parts)
    if rule.rule == "published":
        return learnable, splits.published(utterances, parts, rule.shared_speakers)
    if rule.rule == "superb_er":
        lists = splits.superb_lists() if recipe.corpus.name == "iemocap" else None
        return learnable, splits.superb_er(utterances, lists)
    has_sessions = all(u.group is not None for u in utterances)
    return learnable, splits.speaker_folds(utterances, None if has_sessions else rule.folds)


def only_used(learnable: Learnable, split: Split) -> tuple[Learnable, Split]:
    """The same without utterances that no fold uses, so that nobody reads their recordings."""
    used = split.used
    place = {old: new for new, old in enumerate(used)}

    def kept(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[i] for i in used) if values else ()

    def moved(indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[i] for i in indices)

    folds = tuple(
        replace(fold, train=moved(fold.train), dev=moved(fold.dev), test=moved(fold.test)) for fold in split.folds
    )
    fewer = replace(
        learnable,
        utterances=kept(learnable.utterances),
        targets=kept(learnable.targets),
        texts=kept(learnable.texts),
    )
    return fewer, replace(split, folds=folds)


def repeated_audio(split: Split, items: Sequence[Item]) -> list[str]:
    """A sentence where the same audio is in the training and the test part under two names, or none."""
    crossing: set[str] = set()
    for fold in split.folds:
        crossing |= {items[i].digest for i in fold.train} & {items[i].digest for i in fold.test}
    if not crossing:
        return []
    names = sorted(item.name for item in items if item.digest in crossing)
    return [f"{len(crossing)} recordings are in training and test under two names: {', '.join(names[:4])}."]


def without_short(split: Split, items: Sequence[Item], longer_than: float) -> Split:
    """The split without training utterances that are not longer than so many seconds."""
    folds = tuple(
        replace(fold, train=tuple(i for i in fold.train if items[i].seconds > longer_than)) for fold in split.folds
    )
    shorter = replace(split, folds=folds)
    dropped = len(split.trained) - len(shorter.trained)
    if not dropped:
        return split
    for fold in folds:
        if not fold.train:
            raise MendableError(
                f"No training utterance of {fold.name} is longer than {longer_than:g} s; lower split.longer_than."
            )
    note = f"{dropped} training utterances are not longer than {longer_than:g} s and were left out."
    return replace(shorter, notes=(*split.notes, note))


def training_speakers(utterances: Sequence[Utterance], split: Split) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The speakers that some fold trains on, and the number of every utterance's own, -1 for others."""
    trained = sorted({utterances[i].speaker for i in split.trained})
    number = {speaker: index for index, speaker in enumerate(trained)}
    return tuple(trained), tuple(number.get(u.speaker, -1) for u in utterances)
