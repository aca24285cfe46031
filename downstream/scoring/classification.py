"""Testing classifiers: confusions, accuracies, and their interval over speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from downstream import metrics
from downstream.corpora.splits import Fold
from downstream.material import Material
from downstream.scoring.base import Evaluation, Interval
from downstream.scoring.intervals import by_speaker, cluster, over_speakers
from downstream.tasks.base import Predictions
from downstream.tasks.classification import Classification, as_rows


class ClassificationScorer:
    """Tests of `UtteranceClassifier`s."""

    chance_means = "always answering the commonest class of the training part"

    def __init__(self, task: Classification, material: Material, primary: str) -> None:
        self._task, self._material, self._primary = task, material, primary

    def outputs(self, fold: Fold) -> Sequence[str]:
        return self._material.classes

    def tested(self, fold: Fold) -> Sequence[int]:
        return fold.test

    def evaluate(self, predictions: Predictions, fold: Fold) -> Evaluation:
        posteriors = as_rows(predictions)
        confusion = self._task.confusion(posteriors, torch.tensor(fold.test))
        return Evaluation(
            metrics={name: metric(confusion) for name, metric in metrics.OF_CONFUSIONS.items()},
            details={"confusion": confusion.tolist()},
            pieces=self._by_speaker(posteriors, fold),
            rows=self._rows(posteriors, fold),
        )

    def interval(self, evaluations: Sequence[Evaluation], metric: str, value: float, seed: int) -> Interval:
        pieces = by_speaker(evaluation.pieces for evaluation in evaluations)
        return over_speakers(metrics.speaker_bootstrap(pieces, metrics.OF_CONFUSIONS[metric], value, seed))

    def chance(self, fold: Fold) -> float:
        """The score of always answering the commonest training class."""
        targets, classes = self._material.targets, len(self._material.classes)
        commonest = Counter(targets[i] for i in fold.train).most_common(1)[0][0]
        truth = np.array([targets[i] for i in fold.test])
        confusion = metrics.confusion_matrix(truth, np.full_like(truth, commonest), classes)
        return metrics.OF_CONFUSIONS[self._primary](confusion)

    def _by_speaker(self, posteriors: Tensor, fold: Fold) -> dict[str, metrics.IntArray]:
        """The confusion matrix of each test speaker; a recording without one stands for itself."""
        material, classes = self._material, len(self._material.classes)
        found: dict[str, metrics.IntArray] = {}
        for index, answer in zip(fold.test, posteriors.argmax(dim=1).tolist(), strict=True):
            who = cluster(material, index)
            own = found.setdefault(who, np.zeros((classes, classes), dtype=np.int64))
            own[material.targets[index], answer] += 1
        return found

    def _rows(self, posteriors: Tensor, fold: Fold) -> list[dict[str, object]]:
        material = self._material
        return [
            {
                "id": material.utterances[index].id,
                "speaker": material.utterances[index].speaker,
                "label": material.classes[material.targets[index]],
                "predicted": material.classes[answer],
                "posteriors": [round(float(p), 6) for p in posterior],
            }
            for index, answer, posterior in zip(fold.test, posteriors.argmax(dim=1).tolist(), posteriors, strict=True)
        ]
