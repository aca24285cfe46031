"""A family from outside that learns nothing: the class is the larger of fixed projections of a layer's mean.

Recipes name it "path/to/own_family.py:FixedProjections".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from rich.text import Text
from torch import Tensor

from downstream.data.splits import Fold
from downstream.tasks import (
    Choice,
    Closed,
    Corpus,
    CountedEvaluation,
    Dataset,
    Family,
    Head,
    Metric,
    Needs,
    Part,
    Predictions,
    Recipe,
    States,
    Targets,
    Task,
    WeightedSum,
    as_rows,
)
from downstream.tasks.evaluation import IntArray
from upstream.base import HiddenStates, Upstream

METRICS = {"hit_rate": Metric("hits", higher_is_better=True, of_counts=lambda counts: float(counts[0] / counts[1]))}


class ProjectionSettings(Closed):
    """The head."""

    directions: int = 0  # seed of the projections


class FixedRecipe(Recipe):
    """Has no optimiser and no training."""

    metric_names: ClassVar[tuple[str, ...]] = tuple(METRICS)

    head: ProjectionSettings = ProjectionSettings()


@dataclass(frozen=True)
class Emotions(Targets):
    """The number of every utterance's class."""

    numbers: tuple[int, ...]


class Directions(Head):
    """Mean over frames of a layer, onto one fixed direction a class."""

    def __init__(self, num_layers: int, dim: int, classes: int, seed: int, layer: int | None) -> None:
        super().__init__()
        self.weighted_sum = WeightedSum(num_layers, layer)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("directions", torch.randn(classes, dim, generator=generator))

    def forward(self, means: Tensor) -> Tensor:
        """Per-layer means (L, B, D) -> (B, C)."""
        projections: Tensor = self.weighted_sum(means) @ self.directions.T
        return projections


class FixedProjections(Family):
    """Utterances into the classes of the column "emotion"."""

    recipe_type = FixedRecipe
    metrics = METRICS
    chance_means = "always answering the commonest class of the training part"

    def __init__(self, recipe: FixedRecipe) -> None:
        self._recipe = recipe

    def choose(self, corpus: Corpus) -> Choice:
        used = tuple(sorted((u for u in corpus.utterances if "emotion" in u.labels), key=lambda u: u.id))
        labels = tuple(u.labels["emotion"] for u in used)
        return Choice("emotion", used, tuple(sorted(set(labels))), labels)

    def finish(self, dataset: Dataset) -> Dataset:
        return replace(dataset, targets=Emotions(tuple(dataset.classes.index(label) for label in dataset.labels)))

    def needs(self) -> Needs:
        return "means"

    def task(self, dataset: Dataset, upstream: Upstream) -> ProjectionTask:
        return ProjectionTask(dataset, upstream, self._recipe.head.directions)

    def details(self, dataset: Dataset) -> Mapping[str, Any]:
        return {"classes": list(dataset.classes)}

    @classmethod
    def tables(cls, details: Mapping[str, Any], heads: Sequence[Mapping[str, Any]]) -> Sequence[Text]:
        right = sum(head["right"] for head in heads)
        return [Text(f"{right} were hits, of {len(details['classes'])} classes")]


class ProjectionTask(Task):
    """Fixed projections on a dataset."""

    metrics = METRICS

    def __init__(self, dataset: Dataset, upstream: Upstream, directions: int) -> None:
        assert isinstance(dataset.targets, Emotions)
        self.dataset, self.numbers = dataset, dataset.targets.numbers
        self._shape, self._directions = (upstream.num_layers, upstream.dim), directions

    def build(self, seed: int, layer: int | None) -> Directions:
        return Directions(*self._shape, len(self.dataset.classes), self._directions + seed, layer)

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        raise AssertionError("nothing is learned")

    def predict(self, head: Head, states: States) -> Tensor:
        projections: Tensor = head(states.means().transpose(0, 1) if isinstance(states, HiddenStates) else states)
        return projections

    def evaluate(self, predictions: Predictions, part: Part) -> Hits:
        return Hits(self, as_rows(predictions).argmax(dim=1).tolist(), part)

    def outputs(self, fold: Fold) -> Sequence[str]:
        return self.dataset.classes

    def chance(self, part: Part) -> Mapping[str, float]:
        commonest = Counter(self.numbers[i] for i in part.fold.train).most_common(1)[0][0]
        return {"hit_rate": float(np.mean([self.numbers[i] == commonest for i in part.utterances]))}


class Hits(CountedEvaluation):
    """Answers against classes; counts are hits and utterances."""

    def __init__(self, task: ProjectionTask, answers: Sequence[int], part: Part) -> None:
        super().__init__(METRICS, task.dataset, part.utterances)
        self._task, self._answers, self._part = task, answers, part

    def counts(self) -> IntArray:
        pairs = zip(self._part.utterances, self._answers, strict=True)
        return np.array([(answer == self._task.numbers[index], 1) for index, answer in pairs], dtype=np.int64)

    def details(self) -> Mapping[str, Any]:
        return {"right": int(self.counts()[:, 0].sum())}

    def rows(self) -> list[dict[str, object]]:
        dataset = self._task.dataset
        return [
            {"id": dataset.utterances[index].id, "label": dataset.labels[index], "predicted": dataset.classes[answer]}
            for index, answer in zip(self._part.utterances, self._answers, strict=True)
        ]
