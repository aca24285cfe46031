"""Classes of the parts of a split: what a part must have to learn or to test a classifier, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.data import Dataset, Fold, development_part, parts_of_test
from downstream.tasks.classification.data import class_targets
from upstream.errors import UserError

SHOWN = 3  # parts in a sentence; with folds there can be many


def class_notes(dataset: Dataset, named: Sequence[str]) -> list[str]:
    """Return sentences on development and test parts of one class alone, and on tests without the commonest class.

    named: the test parts that the recipe names. Raises UserError for training utterances of one class, and for a part
    of noise alone.
    """
    of_one, without = [], []
    for fold in dataset.split.folds:
        check_training(dataset, fold)
        commonest = dataset.classes[class_targets(dataset).commonest(fold.train)]
        for part in (development_part(fold), *parts_of_test(dataset, fold, named)):
            if part.utterances:
                name = f"the {part.name} part of {fold.name}"
                check_speech(dataset, part.utterances, name)
                classes = classes_of(dataset, part.utterances)
                of_one += [f"{name} ({classes[0]})"] if len(classes) == 1 else []
                without += [f"{name} ({commonest})"] if part.is_test and commonest not in classes else []
    notes = []
    if of_one:
        notes.append(f"One class alone is in {listed(of_one)}, where always answering it makes no mistake.")
    if without:
        notes.append(f"The commonest class of training is not in {listed(without)}, so chance is 0 there.")
    return notes


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def classes_of(dataset: Dataset, utterances: Sequence[int]) -> list[str]:
    """Return the classes that utterances have."""
    return [name for name, count in class_targets(dataset).labels(utterances).items() if count]


def check_training(dataset: Dataset, fold: Fold) -> None:
    """Raise UserError unless two classes or more can be learned."""
    check_speech(dataset, fold.train, f"the training part of {fold.name}")
    classes = classes_of(dataset, fold.train)
    if len(classes) < 2:
        raise UserError(
            f"The training part of {fold.name} has one class, {classes[0]}, and there is nothing to tell it from. Put "
            f"utterances of other classes ({', '.join(dataset.classes)}) into it, or choose another split."
        )


def check_speech(dataset: Dataset, utterances: Sequence[int], what: str) -> None:
    """Raise UserError where all utterances are noise; what: which they are, for the message."""
    if not any(dataset.utterances[index].speech for index in utterances):
        raise UserError(
            f"Nothing but background noise is in {what}, {len(utterances)} windows of it and no speech. Complete the "
            "corpus and its lists of the parts, or choose another split."
        )
