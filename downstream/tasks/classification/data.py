"""Data of classification: which utterances of a corpus have a class, and the classes of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import yaml

from downstream.data import Choice, Corpus, Dataset, Targets, Utterance, consecutive_windows, left_out
from downstream.tasks.classification.recipe import ClassificationRecipe
from upstream.errors import UserError


@dataclass(frozen=True)
class ClassTargets(Targets):
    """Classes of utterances.

    classes: their names, in the order of a head's outputs; numbers: the class of every utterance.
    """

    classes: tuple[str, ...]
    numbers: tuple[int, ...]

    def class_numbers(self, indices: Sequence[int]) -> list[int]:
        return [self.numbers[index] for index in indices]

    def commonest(self, indices: Sequence[int]) -> int:
        """Return the class that most of the utterances have; of several, the one that comes first."""
        return Counter(self.class_numbers(indices)).most_common(1)[0][0]

    def labels(self, indices: Sequence[int]) -> dict[str, int]:
        count = Counter(self.numbers[index] for index in indices)
        return {name: count[number] for number, name in enumerate(self.classes)} if count else {}


def with_class_targets(dataset: Dataset) -> Dataset:
    """Return the dataset with the number of every utterance's class."""
    number = {name: index for index, name in enumerate(dataset.classes)}
    return replace(dataset, targets=ClassTargets(dataset.classes, tuple(number[label] for label in dataset.labels)))


def class_targets(dataset: Dataset) -> ClassTargets:
    """Return the classes of a dataset of this family."""
    assert isinstance(dataset.targets, ClassTargets)
    return dataset.targets


def choose_utterances(recipe: ClassificationRecipe, corpus: Corpus) -> Choice:
    """Return the utterances of the recipe's classes, with its classes of other labels and of silence, if any.

    Raises UserError where the corpus has no such label column, or a class without an utterance.
    """
    settings = recipe.corpus
    column = label_column(corpus, settings.label)
    labelled = [u for u in corpus.utterances if column in u.labels]
    spoken, noise = apart(labelled, column, settings.silence.label if settings.silence else None)
    in_parts = [u for u in spoken if u.split is not None]  # others may have labels that are not classes
    named = settings.classes or tuple(sorted({u.labels[column] for u in in_parts or spoken}))
    further = [settings.others, settings.silence.name if settings.silence else None]
    classes = named + tuple(name for name in further if name is not None and name not in named)
    if settings.silence is not None:
        spoken += quiet(noise, recipe, column)

    def class_of(utterance: Utterance) -> str | None:
        label = utterance.labels[column]
        return label if label in classes else settings.others

    used = tuple(sorted((u for u in spoken if class_of(u) is not None), key=lambda u: u.id))
    found = Counter(class_of(u) for u in used)
    absent = [name for name in classes if not found[name]]
    if absent or len(classes) < 2:
        there = yaml.safe_dump(sorted({u.labels[column] for u in labelled}), default_flow_style=True, width=10_000)
        silence = settings.silence.name if settings.silence else None
        keys = {settings.others: "corpus.others=null", silence: "corpus.silence=null"}
        fixes = dict.fromkeys(f"-o {keys.get(name, 'corpus.classes=[…]')}" for name in absent or ("any",))
        raise UserError(
            f"{corpus.title} in {corpus.source} has no utterance of class {', '.join(absent) or '(any other)'}; the "
            f"labels in its column {column!r} are {there.strip()}. Fix the recipe with {' '.join(fixes)}."
        )
    seconds = settings.silence.seconds if settings.silence else None
    notes = left_out(corpus, labelled, f"have no label in the column {column}")
    return Choice(column, used, classes, tuple(str(class_of(u)) for u in used), seconds, notes)


def apart(
    labelled: Sequence[Utterance], column: str, noise_label: str | None
) -> tuple[list[Utterance], list[Utterance]]:
    """Return utterances of speech, and recordings of background noise."""
    noise = [u for u in labelled if not u.speech or u.labels[column] == noise_label]
    marked = {u.id for u in noise}
    return [u for u in labelled if u.id not in marked], [replace(u, speech=False) for u in noise]


def quiet(noise: Sequence[Utterance], recipe: ClassificationRecipe, column: str) -> list[Utterance]:
    """Return the utterances of the silence class: windows of the recordings, or whole ones under SUPERB's rule.

    Clips already in that class (of the official test archive) are unchanged.
    """
    settings = recipe.corpus.silence
    assert settings is not None
    ready = [u for u in noise if u.labels[column] == settings.name]
    recordings = [replace(u, labels={column: settings.name}) for u in noise if u.labels[column] == settings.label]
    if recipe.split.rule != "superb_ks":
        recordings = [window for u in recordings for window in consecutive_windows(u, settings.seconds)]
    return ready + recordings


def label_column(corpus: Corpus, wanted: Sequence[str]) -> str:
    """Return the first of the recipe's label columns that the corpus has; raise UserError where it has none."""
    columns = sorted({column for u in corpus.utterances for column in u.labels})
    for column in wanted:
        if column in columns:
            return column
    raise UserError(
        f"{corpus.title} in {corpus.source} has no label column {' or '.join(wanted)}; found "
        f"{', '.join(columns) or 'none'}. "
        "Name one with -o corpus.label=…, or choose another corpus with -c."
    )
