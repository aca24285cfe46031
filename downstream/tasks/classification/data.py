"""Data of classification: which utterances of a corpus have a class, and the classes of a dataset."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import yaml

from downstream.data import Choice, Corpus, Dataset, Targets, Utterance, consecutive_windows, left_out
from downstream.tasks.classification.recipe import ClassCorpusSettings, ClassificationRecipe
from upstream.errors import UserError

FEWEST_CLASSES = 2


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
    labels = sorted({u.labels[column] for u in labelled})
    if absent:
        raise UserError(
            f"{corpus.title} in {corpus.source} has no utterance of class {', '.join(absent)}; the labels in its "
            f"column {column!r} are {written(labels)}. Fix the recipe with {fixes_of(settings, absent)}."
        )
    if len(classes) < FEWEST_CLASSES:
        every = for_shell(f"corpus.classes={written(labels)}")
        fix = f"Type -o {every}, or two or more of these"
        if len(labels) < 2:
            fix = "Add recordings of another class, labelled likewise, or choose another column with -o corpus.label=…"
        raise UserError(
            f"There is one class, {', '.join(classes)}, in the column {column!r} of {corpus.title}, and nothing to "
            f"tell it from. {fix}."
        )
    seconds = settings.silence.seconds if settings.silence else None
    # That half of the demo corpus is of another task is no news to anybody.
    notes = () if corpus.synthetic else left_out(corpus, labelled, f"have no label in the column {column}")
    return Choice(column, used, classes, tuple(str(class_of(u)) for u in used), seconds, notes)


def written(labels: Sequence[str]) -> str:
    """Return labels as YAML, to be copied into a recipe."""
    return yaml.safe_dump(list(labels), default_flow_style=True, width=10_000).strip()


def fixes_of(settings: ClassCorpusSettings, absent: Sequence[str]) -> str:
    """Return the overrides with which a recipe asks for no absent class.

    All named classes give way to the labels that there are where fewer than two of them are among these.
    """
    fixes = []
    there = [name for name in settings.classes or () if name not in absent]
    takes_all = len(there) < FEWEST_CLASSES and set(settings.classes or ()) & set(absent)
    if takes_all:
        fixes.append("corpus.classes=null")
    elif len(there) < len(settings.classes or ()):
        fixes.append(f"corpus.classes={written(there)}")
    if settings.others is not None and (settings.others in absent or takes_all):
        fixes.append("corpus.others=null")
    if settings.silence is not None and settings.silence.name in absent:
        fixes.append("corpus.silence=null")
    said = " ".join(f"-o {for_shell(fix)}" for fix in fixes)
    return f"{said}, which takes all labels as classes" if takes_all else said


def for_shell(override: str) -> str:
    """Return an override as it is typed; its own quotes stay readable where double ones around it will do."""
    plain = shlex.quote(override)
    return f'"{override}"' if "'" in override and not set('"$`\\!') & set(override) else plain


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
    """Return the first of the recipe's label columns that the corpus has, in any capitals.

    Raises UserError where it has none.
    """
    columns = sorted({column for u in corpus.utterances for column in u.labels})
    for name in wanted:
        of_any_capitals = [column for column in columns if column.lower() == name.lower()]
        if name in columns or len(of_any_capitals) == 1:
            return name if name in columns else of_any_capitals[0]
    fix = f"Type -o corpus.label={columns[0]}" if len(columns) == 1 else "Name one with -o corpus.label=…"
    if not columns:
        fix = "Lay the recordings of each class into a subfolder (-c folder) or write a column label (-c manifest)"
    raise UserError(
        f"{corpus.title} in {corpus.source} has no label column {' or '.join(wanted)}; found "
        f"{', '.join(columns) or 'none'}. {fix}, or choose another corpus with -c."
    )
