"""Testing verifiers: trial scores, error rates and costs, the detection error tradeoff."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from downstream.corpora.splits import Fold
from downstream.material import Material
from downstream.scoring.base import Evaluation, Interval
from downstream.scoring.intervals import over_speakers
from downstream.settings import TrialsSettings
from downstream.speakers.detection_plot import detection_plot, detection_table
from downstream.speakers.metrics import equal_error_rate, speaker_bootstrap
from downstream.speakers.trials import cosine_scores, normalise_scores, score_lines
from downstream.tasks.base import Predictions
from downstream.tasks.classification import as_rows
from downstream.tasks.verification import Verification, rows_of, trial_metrics


class VerificationScorer:
    """Tests of `XVector`s on the trials of each fold's test set."""

    chance_means = "scores that say nothing"

    def __init__(self, task: Verification, material: Material, settings: TrialsSettings, primary: str) -> None:
        self._task, self._material, self._settings, self._primary = task, material, settings, primary

    def outputs(self, fold: Fold) -> Sequence[str]:
        return sorted({self._material.utterances[index].speaker for index in fold.train})

    def tested(self, fold: Fold) -> Sequence[int]:
        """The test utterances, and the cohort behind them."""
        return (*fold.test, *self._material.cohorts.get(fold.name, ()))

    def evaluate(self, predictions: Predictions, fold: Fold) -> Evaluation:
        embeddings = as_rows(predictions)
        trials = self._task.trials[fold.test]
        own, cohort = embeddings[: len(fold.test)], embeddings[len(fold.test) :]
        rows = rows_of(list(fold.test))
        scores = cosine_scores(own, rows, trials)
        if self._settings.normalisation != "none":
            top = self._settings.top if self._settings.normalisation == "as_norm" else None
            scores = normalise_scores(scores, trials, rows, own, cohort, top)
        ids = [utterance.id for utterance in self._material.utterances]
        numbers, target = scores.double().numpy(), trials.target.numpy()
        threshold = equal_error_rate(numbers, target)[1]
        return Evaluation(
            metrics=trial_metrics(scores, trials),
            details={
                "trials": {
                    "trials": len(trials),
                    "targets": int(trials.target.sum()),
                    "rule": trials.rule,
                    "threshold": threshold,
                }
            },
            pieces=(numbers, target, *self._speakers(fold)),
            files={
                "trials.txt": score_lines(trials, scores, ids).encode(),
                "det.csv": detection_table(numbers, target).encode(),
                "det.png": detection_plot({"test": (numbers, target)}),
            },
        )

    def interval(self, evaluations: Sequence[Evaluation], metric: str, value: float, seed: int) -> Interval:
        """Over the speakers of the trials of all heads together, for the equal error rate."""
        if metric != "eer":
            return Interval(None, None, f"none: it is made for the equal error rate, not for {metric}")
        pieces = [evaluation.pieces for evaluation in evaluations]
        scores, target, enrolled, tested = map(np.concatenate, zip(*pieces, strict=True))
        return over_speakers(speaker_bootstrap(scores, target, enrolled, tested, value, seed))

    def chance(self, fold: Fold) -> float:
        """The equal error rate, or normalised cost, of scores that say nothing."""
        return 0.5 if self._primary == "eer" else 1.0

    def _speakers(self, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
        """The speakers of both sides of every trial, (N,) each."""
        trials, utterances = self._task.trials[fold.test], self._material.utterances
        names = np.array([utterance.speaker for utterance in utterances])
        return names[trials.enrolment.numpy()], names[trials.test.numpy()]
