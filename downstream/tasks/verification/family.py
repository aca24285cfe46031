"""Verification: are two utterances of one speaker? X-vectors (SUPERB's ASV), or what is pooled over time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from downstream.data import Choice, Corpus, Dataset, Fold, Part, Targets, Utterance, left_out
from downstream.pictures import Picture
from downstream.statistics import Items
from downstream.tasks.base import Family, MarginTargets, Needs, Task
from downstream.tasks.evaluation import Evaluation
from downstream.tasks.head import Head, Predictions, as_rows
from downstream.tasks.head_on_part import HeadOnPart
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl, TaskModelHead
from downstream.tasks.predictor import HeadContext
from downstream.tasks.verification import other_programs
from downstream.tasks.verification.comparison import comparison_of
from downstream.tasks.verification.detection_plot import detection_pictures, detection_plot, detection_table
from downstream.tasks.verification.enough_speakers import refuse_too_few
from downstream.tasks.verification.error_rates import FloatArray, Ranking, equal_error_rate
from downstream.tasks.verification.heads import Verifier, verifier
from downstream.tasks.verification.items import TrialItems, read_trial_items, trial_items, trial_lines
from downstream.tasks.verification.metrics import METRICS
from downstream.tasks.verification.pooled import ClosedFormHead, LinearHead
from downstream.tasks.verification.predictor import SpeakerPredictor
from downstream.tasks.verification.recipe import TrialsSettings, VerificationRecipe, VerifierSettings
from downstream.tasks.verification.record import TrialDetails, VerificationDetails
from downstream.tasks.verification.trial_plan import plan_cohorts, plan_trials
from downstream.tasks.verification.trial_scores import normalise_scores, score_trials
from downstream.tasks.verification.trials import Trials
from downstream.tasks.verification.xvector import XVector
from downstream.tasks.weighted_sum import standardisation
from upstream.base import HiddenStates, States, Upstream
from upstream.errors import UserError
from upstream.text import counted

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

TRIALS = "trials.txt"


@dataclass(frozen=True)
class SpeakerTargets(Targets):
    """Speakers as the classes of training, and trials of development and test.

    speakers: of all utterances; numbers: index of every utterance's speaker.
    trials: by the utterances of the part that they belong to.
    cohorts: training utterances that scores are normalised against, by fold; empty without normalisation.
    """

    speakers: tuple[str, ...]
    numbers: tuple[int, ...]
    trials: Mapping[tuple[int, ...], Trials]
    cohorts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def further_test_utterances(self, fold: Fold) -> tuple[int, ...]:
        return self.cohorts.get(fold.name, ())

    def question(self) -> list[str]:
        return sorted(trials.rule for trials in self.trials.values())  # the rule of a list has its digest


class Verification(Family):
    """Comparison of pairs of utterances: one speaker or two."""

    recipe_type = VerificationRecipe
    metrics = METRICS
    chance_means = "scores that say nothing"
    within_protocol = ("trials.list=",)
    hub_task = "speaker-verification"
    was_in_schema_3 = True

    def __init__(self, recipe: VerificationRecipe) -> None:
        self._recipe = recipe

    def choose(self, corpus: Corpus) -> Choice:
        """Return the utterances whose speaker is known; of a folder without a manifest, its subfolders are speakers."""
        named, notes = with_speakers(corpus)
        used = tuple(sorted((u for u in named if u.speech and u.speaker), key=lambda u: u.id))
        if len({u.speaker for u in used}) < 2:
            raise UserError(
                f"{corpus.title} in {corpus.source} does not name two speakers; write them into the column speaker of "
                "a manifest.csv (-c manifest), lay the recordings of each into a subfolder (-c folder), or choose "
                "another corpus with -c."
            )
        return Choice("speaker", used, notes=(*notes, *left_out(corpus, used, "name no speaker")))

    def finish(self, dataset: Dataset) -> Dataset:
        """Return the dataset with its trials, and without development and test utterances in no trial."""
        split, trials = plan_trials(dataset, self._recipe)
        cohorts = plan_cohorts(split, dataset.utterances, self._recipe.trials)
        speakers = sorted({u.speaker for u in dataset.utterances})
        number = {speaker: index for index, speaker in enumerate(speakers)}
        numbers = tuple(number[u.speaker] for u in dataset.utterances)
        return replace(dataset, split=split, targets=SpeakerTargets(tuple(speakers), numbers, trials, cohorts))

    def needs(self) -> Needs:
        """Return frames for x-vectors; else statistics, of which `head.pooling` may take the mean alone."""
        return "frames" if self._recipe.head.kind == "xvector" else "statistics"

    def task(self, dataset: Dataset, upstream: Upstream) -> VerificationTask:
        return VerificationTask(dataset, upstream.num_layers, upstream.dim, self._recipe.head, self._recipe.trials)

    def predictor(self, context: HeadContext) -> SpeakerPredictor:
        return SpeakerPredictor(context, self._recipe.head)

    @classmethod
    def of_s3prl(cls, theirs: HeadOfS3prl) -> HeadHere | None:
        return other_programs.of_s3prl(theirs)

    @classmethod
    def task_model(cls, head: Head) -> TaskModelHead:
        return other_programs.task_model(head) if isinstance(head, XVector) else super().task_model(head)

    def test_settings(self) -> Sequence[str]:
        # Before schema 4 several test parts were pooled into one score; such a run must not be found again.
        parts = ("split.test",) if len(self._recipe.split.test) > 1 else ()
        return ("trials.normalisation", "trials.cohort", "trials.top", *parts)

    @classmethod
    def items(cls, details: Mapping[str, Any], head: HeadOnPart, rows: Sequence[Mapping[str, Any]]) -> TrialItems:
        """Return the trials in a head's file of them; there are no rows."""
        if (path := head.file(TRIALS)) is None:
            raise UserError(f"{head.files}.{TRIALS} is missing; run the command that made the record again.")
        return read_trial_items(path)

    @classmethod
    def contradictions(cls, head: HeadOnPart, items: Items, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Compare the numbers of trials and targets, and the threshold at the equal error rate."""
        assert isinstance(items, TrialItems)
        listed = TrialDetails.model_validate(head.details["trials"])
        found = []
        if (listed.trials, listed.targets) != (len(items), int(items.targets.sum())):
            found.append("the numbers of trials and of targets are not those of the file of trials")
        if not math.isclose(listed.threshold, equal_error_rate(items.scores, items.targets)[1], rel_tol=1e-6):
            found.append("the threshold at the equal error rate is not that of the trials")
        return found

    @classmethod
    def tables(cls, details: Mapping[str, Any], heads: Sequence[Mapping[str, Any]]) -> Sequence[Table | Text]:
        from downstream.tasks.verification.record import trial_rules, trial_table

        trials = [(head["fold"], TrialDetails.model_validate(head["trials"])) for head in heads]
        return [trial_table(trials), *trial_rules(trials)]

    @classmethod
    def pictures(cls, details: Mapping[str, Any], heads: Sequence[HeadOnPart]) -> Sequence[Picture]:
        """Return the detection error trade-off of every head on every test part."""
        return detection_pictures(heads)


def with_speakers(corpus: Corpus) -> tuple[Sequence[Utterance], tuple[str, ...]]:
    """Return the utterances with their speakers, and a sentence where these are the names of subfolders."""
    if corpus.subfolders is None:
        return corpus.utterances, ()
    column = corpus.subfolders
    named = [replace(u, speaker=u.labels.get(column, "")) for u in corpus.utterances]
    names = sorted({u.speaker for u in named} - {""})
    return named, (f"The {counted(len(names), 'subfolder was', 'subfolders were')} taken for speakers.",)


def speaker_targets(dataset: Dataset) -> SpeakerTargets:
    """Return the speakers and trials of a dataset of this family."""
    assert isinstance(dataset.targets, SpeakerTargets)
    return dataset.targets


class VerificationTask(Task):
    """Verification on a dataset: an embedding per utterance, learned from the training speakers or taken as it is."""

    metrics = METRICS

    def __init__(
        self,
        dataset: Dataset,
        num_layers: int,
        dim: int,
        head: VerifierSettings,
        trials: TrialsSettings,
        train: Sequence[int] | None = None,
    ) -> None:
        """num_layers, dim: L and D of the upstream. train: the training utterances, all by default."""
        self.dataset, self._settings = dataset, (num_layers, dim, head, trials)
        numbers = torch.tensor(speaker_targets(dataset).numbers)
        own = sorted(set(numbers[list(dataset.split.trained if train is None else train)].tolist()))
        self.num_speakers = len(own)
        renumbered = torch.full((len(speaker_targets(dataset).speakers) + 1,), -1)  # of others, and of nobody (-1)
        renumbered[own] = torch.arange(len(own))
        self.targets = renumbered[numbers]  # (U,)
        if head.kind == "linear":
            self.with_margin = MarginTargets(self.targets, head.scale, head.margin)

    def of_fold(self, train: Sequence[int]) -> VerificationTask:
        """Return the task whose classes are the speakers of `train` alone."""
        return VerificationTask(self.dataset, *self._settings, train)

    def caveats(self) -> Sequence[str]:
        """Raise UserError for a training part too small for the head; there is nothing else to say."""
        for fold in self.dataset.split.folds:
            refuse_too_few(self.dataset, fold, self._settings[2])
        return ()

    def build(self, seed: int, layer: int | None) -> Verifier:
        num_layers, dim, head, _ = self._settings
        return verifier(head, num_layers, dim, self.num_speakers, seed, layer)

    def fit(self, heads: Sequence[Head], training: Iterable[tuple[Tensor, States]]) -> None:
        """Fit heads in closed form to the training utterances and their speakers; a linear one standardises by them."""
        linear = [head for head in heads if isinstance(head, LinearHead)]
        if linear:
            centre, scale = standardisation(linear[0].pooled(states).cpu() for _, states in training)
            for head in linear:
                head.standardise(centre, scale)
        fitted = [head for head in heads if isinstance(head, ClosedFormHead) and head.centre is not None]
        if fitted:
            vectors: list[list[Tensor]] = [[] for _ in fitted]
            speakers = []
            for utterances, states in training:
                speakers.append(self.targets[utterances])
                for own, closed in zip(vectors, fitted, strict=True):
                    own.append(closed.mixed(states).cpu())
            for own, closed in zip(vectors, fitted, strict=True):
                closed.fit(torch.cat(own).double(), torch.cat(speakers))

    def losses(self, head: Head, states: States, utterances: Tensor) -> Tensor:
        assert isinstance(head, XVector | LinearHead)
        speakers = self.targets[utterances]  # the objective moves them to where the states are
        if isinstance(head, LinearHead):
            return head.losses(states, speakers)
        assert isinstance(states, HiddenStates)
        return head.losses(states, speakers)

    def predict(self, head: Head, states: States) -> Tensor:
        """Return embeddings, (B, E)."""
        embeddings: Tensor = head(states)
        return embeddings

    def predicted(self, part: Part) -> Sequence[int]:
        """Return the utterances of the part, then for a test part the cohort."""
        cohort = speaker_targets(self.dataset).further_test_utterances(part.fold) if part.is_test else ()
        return (*part.utterances, *cohort)

    def evaluate(self, predictions: Predictions, part: Part) -> TrialEvaluation:
        """Score the trials among the utterances of the part; scores of a test are normalised as the recipe says.

        On development, a diverged head, whose embeddings are not finite, has the worst possible score.
        """
        embeddings, trials = as_rows(predictions), speaker_targets(self.dataset).trials[part.utterances]
        own, cohort = embeddings[: len(part.utterances)], embeddings[len(part.utterances) :]
        rows = {utterance: row for row, utterance in enumerate(part.utterances)}
        settings = self._settings[3]
        if not part.is_test and not bool(torch.isfinite(own).all()):
            return TrialEvaluation(self.dataset, trials, torch.full((len(trials),), math.nan))
        compare = comparison_of(self._settings[2].kind)
        scores = score_trials(own, rows, trials, compare)
        if part.is_test and settings.normalisation != "none":
            top = settings.top if settings.normalisation == "as_norm" else None
            scores = normalise_scores(scores, trials, rows, own, cohort, top, compare)
        return TrialEvaluation(self.dataset, trials, scores, part.name if part.is_test else None)

    def outputs(self, fold: Fold) -> Sequence[str]:
        return sorted({self.dataset.utterances[index].speaker for index in fold.train})

    def chance(self, part: Part) -> Mapping[str, float]:
        """Return the equal error rate and the normalised costs of uninformative scores."""
        return {name: 0.5 if name == "eer" else 1.0 for name in METRICS}


class TrialEvaluation(Evaluation):
    """Scores of trials compared with the truth."""

    def __init__(self, dataset: Dataset, trials: Trials, scores: Tensor, part: str | None = None) -> None:
        """scores: (N,) of the trials; those of a development set may be NaN, and are then worst. part: None of it."""
        self._dataset, self._trials, self._scores, self._part = dataset, trials, scores, part

    @cached_property
    def _numbers(self) -> FloatArray:
        numbers: FloatArray = self._scores.double().numpy()
        return numbers

    @cached_property
    def _ranking(self) -> Ranking:
        return Ranking.of(self._numbers, self._trials.target.numpy())

    def value(self, metric: str) -> float:
        if self._part is None and not np.isfinite(self._numbers).all():
            return math.inf
        return self._ranking.value(metric, np.ones(len(self._trials)))

    def items(self) -> TrialItems:
        utterances = self._dataset.utterances
        ids, speakers = [one.id for one in utterances], [one.speaker for one in utterances]
        return trial_items(self._trials, self._scores, ids, speakers)

    def details(self) -> Mapping[str, Any]:
        trials = self._trials
        found = TrialDetails(
            trials=len(trials),
            targets=int(trials.target.sum()),
            rule=trials.rule,
            threshold=equal_error_rate(self._numbers, trials.target.numpy())[1],
        )
        return VerificationDetails(trials=found).model_dump()

    def files(self) -> dict[str, bytes]:
        target = self._trials.target.numpy()
        return {
            TRIALS: trial_lines(self.items()).encode(),
            "det.csv": detection_table(self._numbers, target).encode(),
            "det.png": detection_plot({self._part or "dev": (self._numbers, target)}),
        }
