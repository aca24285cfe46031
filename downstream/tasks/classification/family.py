"""Classification: one class per utterance, trained with cross entropy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.data import Choice, Corpus, Dataset, Fold, Part
from downstream.pictures import Picture
from downstream.statistics import Items, cluster_of
from downstream.tasks.base import AffineTargets, Family, Needs, Task
from downstream.tasks.classification import other_programs
from downstream.tasks.classification.class_notes import class_notes
from downstream.tasks.classification.data import choose_utterances, class_targets, with_class_targets
from downstream.tasks.classification.heads import (
    HEADS,
    AttentivePoolingClassifier,
    UtteranceClassifier,
    classifier,
)
from downstream.tasks.classification.items import ClassifiedItems
from downstream.tasks.classification.metrics import METRICS, confusion_matrix
from downstream.tasks.classification.predictor import ClassPredictor, posteriors
from downstream.tasks.classification.recipe import ClassificationRecipe, ClassifierSettings
from downstream.tasks.classification.record import ClassificationDetails, ConfusionDetails
from downstream.tasks.evaluation import Evaluation, IntArray
from downstream.tasks.head import Head, Predictions, as_rows
from downstream.tasks.head_on_part import HeadOnPart
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl, TaskModelHead
from downstream.tasks.predictor import HeadContext
from downstream.tasks.weighted_sum import standardisation
from upstream.base import States, Upstream

if TYPE_CHECKING:
    from rich.table import Table


class Classification(Family):
    """Classification of utterances: emotion, keywords, words."""

    recipe_type = ClassificationRecipe
    metrics = METRICS
    chance_means = "always answering the commonest class of the training part"
    hub_task = "audio-classification"
    was_in_schema_3 = True

    def __init__(self, recipe: ClassificationRecipe) -> None:
        self._recipe = recipe

    def choose(self, corpus: Corpus) -> Choice:
        return choose_utterances(self._recipe, corpus)

    def finish(self, dataset: Dataset) -> Dataset:
        """Return the dataset with the class of every utterance; refuse parts without what a classifier needs."""
        finished = with_class_targets(dataset)
        notes = class_notes(finished, self._recipe.split.test_parts)
        return replace(finished, notes=(*dataset.notes, *notes))

    def needs(self) -> Needs:
        """Return means for mean pooling, where a classifier is affine up to its mean over frames; else frames."""
        return "means" if HEADS[self._recipe.head.pooling].is_affine else "frames"

    def task(self, dataset: Dataset, upstream: Upstream) -> ClassificationTask:
        return ClassificationTask(dataset, upstream.num_layers, upstream.dim, self._recipe.head)

    def predictor(self, context: HeadContext) -> ClassPredictor:
        return ClassPredictor(context, self._recipe.head)

    def test_settings(self) -> Sequence[str]:
        # Before schema 4 several test parts were pooled into one score; such a run must not be found again.
        return ("split.test",) if len(self._recipe.split.test) > 1 else ()

    def known_outputs(self) -> Sequence[str]:
        corpus = self._recipe.corpus
        further = (corpus.others, corpus.silence.name if corpus.silence else None)
        return (*corpus.classes, *filter(None, further)) if corpus.classes else ()

    @classmethod
    def naming(cls, outputs: Sequence[str]) -> Sequence[str]:
        return (f"corpus.classes={json.dumps(list(outputs))}", "corpus.others=null", "corpus.silence=null")

    @classmethod
    def of_s3prl(cls, theirs: HeadOfS3prl) -> HeadHere | None:
        return other_programs.of_s3prl(theirs)

    @classmethod
    def task_model(cls, head: Head) -> TaskModelHead:
        if isinstance(head, UtteranceClassifier) and not isinstance(head, AttentivePoolingClassifier):
            return other_programs.task_model(head)
        return super().task_model(head)

    def details(self, dataset: Dataset) -> Mapping[str, Any]:
        return ClassificationDetails(classes=list(dataset.classes)).model_dump()

    @classmethod
    def items(cls, details: Mapping[str, Any], head: HeadOnPart, rows: Sequence[Mapping[str, Any]]) -> ClassifiedItems:
        return ClassifiedItems(
            ids=tuple(row["id"] for row in rows),
            truths=tuple(row["label"] for row in rows),
            answers=tuple(row["predicted"] for row in rows),
            clusters=tuple((cluster_of(row["speaker"], row["id"]),) for row in rows),
            classes=details["classes"],
        )

    @classmethod
    def contradictions(cls, head: HeadOnPart, items: Items, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Compare the confusion matrix, and look for answers that are not the most probable class."""
        assert isinstance(items, ClassifiedItems)
        found = []
        if head.details["confusion"] != items.confusion.tolist():
            found.append("the confusion matrix is not that of the predictions")
        if wrong := [row["id"] for row in rows if not is_most_probable(row, items.classes)]:
            found.append(f"the answer to {wrong[0]} is not the class of its largest posterior")
        return found

    @classmethod
    def tables(cls, details: Mapping[str, Any], heads: Sequence[Mapping[str, Any]]) -> Sequence[Table]:
        from downstream.tasks.classification.record import confusion_or_recall_table

        return [confusion_or_recall_table(details["classes"], [head["confusion"] for head in heads])]

    @classmethod
    def pictures(cls, details: Mapping[str, Any], heads: Sequence[HeadOnPart]) -> Sequence[Picture]:
        """Return the confusion matrix of each test part, summed over heads."""
        from downstream.tasks.classification.confusion_plot import confusion_picture

        parts = list(dict.fromkeys(head.part for head in heads))
        counts = {part: np.sum([head.details["confusion"] for head in heads if head.part == part], 0) for part in parts}
        return [
            confusion_picture(details["classes"], counts[part], "confusion" if len(parts) == 1 else f"confusion-{part}")
            for part in parts
        ]


def is_most_probable(row: Mapping[str, Any], classes: Sequence[str]) -> bool:
    """Return True where the answer of a row has the largest of its posteriors, which are rounded."""
    posteriors = dict(zip(classes, row["posteriors"], strict=True))
    return bool(posteriors[row["predicted"]] == max(posteriors.values()))


class ClassificationTask(Task):
    """Classification of a dataset."""

    metrics = METRICS

    def __init__(self, dataset: Dataset, num_layers: int, dim: int, head: ClassifierSettings) -> None:
        """num_layers, dim: L and D of the upstream."""
        self.dataset, self._shape, self._head = dataset, (num_layers, dim), head
        self.classes = class_targets(dataset).classes
        self.targets = torch.tensor(class_targets(dataset).numbers)  # (U,)
        if HEADS[head.pooling].is_affine:
            self.affine = AffineTargets(self.targets, len(self.classes))

    def build(self, seed: int, layer: int | None) -> UtteranceClassifier:
        return classifier(self._head, *self._shape, len(self.classes), seed, layer)

    def fit(self, heads: Sequence[Head], training: Iterable[tuple[Tensor, States]]) -> None:
        """Standardise layers by the training utterances, where the recipe has it."""
        if self._head.standardised:
            centre, scale = standardisation(heads[0].summed_up(states).cpu() for _, states in training)
            for head in heads:
                head.weighted_sum.standardise(centre, scale)

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        logits = head(states)
        return F.cross_entropy(logits, self.targets[utterances].to(logits.device), reduction="none")

    def predict(self, head: Head, states: States) -> Tensor:
        """Return posteriors, (B, C)."""
        return posteriors(head, states)

    def evaluate(self, predictions: Predictions, part: Part) -> ClassificationEvaluation:
        return ClassificationEvaluation(self, as_rows(predictions), part.utterances)

    def outputs(self, fold: Fold) -> Sequence[str]:
        return self.classes

    def chance(self, part: Part) -> Mapping[str, float]:
        commonest = class_targets(self.dataset).commonest(part.fold.train)
        truth = self.targets[list(part.utterances)].numpy()
        confusion = confusion_matrix(truth, np.full_like(truth, commonest), len(self.classes))
        return {name: metric.of_counts(confusion) for name, metric in METRICS.items() if metric.of_counts}


class ClassificationEvaluation(Evaluation):
    """Posteriors compared with the true classes."""

    def __init__(self, task: ClassificationTask, posteriors: Tensor, utterances: Sequence[int]) -> None:
        """posteriors: (U, C) of the utterances."""
        self._task, self._posteriors, self._utterances = task, posteriors, utterances

    @cached_property
    def confusion(self) -> IntArray:
        """Counts (truth, predicted), (C, C)."""
        truth = self._task.targets[list(self._utterances)].numpy()
        return confusion_matrix(truth, np.array(self._answers), len(self._task.classes))

    @cached_property
    def _answers(self) -> list[int]:
        answers: list[int] = self._posteriors.argmax(dim=1).tolist()
        return answers

    def value(self, metric: str) -> float:
        of_counts = METRICS[metric].of_counts
        assert of_counts is not None
        return of_counts(self.confusion)

    def items(self) -> ClassifiedItems:
        task, dataset = self._task, self._task.dataset
        return ClassifiedItems(
            ids=tuple(dataset.utterances[index].id for index in self._utterances),
            truths=tuple(task.classes[int(task.targets[index])] for index in self._utterances),
            answers=tuple(task.classes[answer] for answer in self._answers),
            clusters=tuple((dataset.cluster(index),) for index in self._utterances),
            classes=task.classes,
        )

    def details(self) -> Mapping[str, Any]:
        return ConfusionDetails(confusion=self.confusion.tolist()).model_dump()

    def rows(self) -> list[dict[str, object]]:
        dataset, classes = self._task.dataset, self._task.classes
        return [
            {
                "id": dataset.utterances[index].id,
                "speaker": dataset.utterances[index].speaker,
                "label": classes[int(self._task.targets[index])],
                "predicted": classes[answer],
                "posteriors": [round(float(p), 6) for p in posterior],
            }
            for index, answer, posterior in zip(self._utterances, self._answers, self._posteriors, strict=True)
        ]
