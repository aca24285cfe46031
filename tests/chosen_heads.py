"""Heads as if development had chosen them, on small datasets whose states are random; and runs made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import torch
from small_datasets import small_dataset
from torch import Tensor

import upstream
from downstream.data.dataset import Dataset
from downstream.data.splits import Fold
from downstream.recipes.options import Options
from downstream.recipes.recipe import Recipe
from downstream.results.record import Timing
from downstream.results.run import Run
from downstream.states.cache_plan import CachePlan
from downstream.tasks.base import Task
from downstream.tasks.classification.data import ClassTargets
from downstream.tasks.classification.family import ClassificationTask
from downstream.tasks.classification.heads import UtteranceClassifier
from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.tasks.registry import family_of, load_recipe
from downstream.tasks.verification.family import SpeakerTargets, VerificationTask
from downstream.tasks.verification.recipe import TrialsSettings, VerifierSettings
from downstream.tasks.verification.trials import Trials
from downstream.training.loop import Fit
from downstream.training.scoring import ScoredHead, score_heads
from downstream.training.sweep import Chosen, Config
from upstream.base import HiddenStates

CLASSES = ("low", "middle", "high")
LARGE = Fold("large", (0, 1), (), tuple(range(2, 80)))  # more than are predicted at a time
SMALL = Fold("small", (2, 3), (), (0, 1))
SPEAKERS = [f"s{i % 7}" for i in range(80)]
TARGETS = ClassTargets(CLASSES, tuple(i % 3 for i in range(80)))
PARTS = ["clean" if i % 4 else "noisy" for i in range(80)]
MEANS = torch.randn(2, 80, 4, generator=torch.Generator().manual_seed(0))


def many(folds: Sequence[Fold] = (LARGE, SMALL)) -> Dataset:
    return small_dataset(SPEAKERS, folds, TARGETS, PARTS, classes=CLASSES)


def task_of(dataset: Dataset) -> ClassificationTask:
    return ClassificationTask(dataset, 2, 4, ClassifierSettings(projection=3))


class AskedFor:
    """Means in memory, and which utterances were asked for."""

    audio_seconds = computed_seconds = 0.0

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        assert places is None, "a test reads whole utterances"
        for group in groups:
            self.groups.append(group.tolist())
            yield MEANS[:, group]


def head(fit: Fit) -> UtteranceClassifier:
    built = task_of(many()).build(fit.config.seed, fit.config.layer)
    built.load_state_dict(fit.weights)
    return built


def fit(fold: int, seed: int, layer: int | None, lr: float = 1e-3) -> Fit:
    """A head whose weights are no longer those it began with."""
    weights = {
        name: tensor + 1.0 / (2 + fold + seed) * torch.arange(tensor.numel()).view_as(tensor).cos()
        for name, tensor in task_of(many()).build(seed, layer).state_dict().items()
    }
    return Fit(fold, Config(lr, seed, layer), 20, 0.75, weights, [(10, 1.0, 0.25), (20, 0.5, 0.75)])


def chosen() -> list[Chosen[Fit]]:
    """Two seeds on the weighted sum and on layer 1, for each fold."""
    return [Chosen(layer, fit(fold, seed, layer)) for layer in (None, 1) for seed in (0, 3) for fold in (0, 1)]


def run_of(
    recipe: Recipe, dataset: Dataset, task: Task, scored: Sequence[ScoredHead], further: Sequence[Fit] = ()
) -> Run:
    """Return a run whose heads are these; further: fits that were not chosen."""
    return Run(
        upstream=upstream.load("fbank"),
        recipe=recipe,
        options=Options(),
        family=family_of(recipe),
        task=task,
        dataset=dataset,
        plan=CachePlan("means", None, Path("unused"), None, 0, 0, "nothing is kept"),
        learned="0" * 64,
        settings=list(dict.fromkeys(one.setting for one in scored)),
        fits=[*(one.fit for one in scored), *further],
        scored=scored,
        layer_norms=[1.0, 2.0],
        timing=Timing(
            reading=0.0, extraction=0.0, training=0.0, evaluation=0.0, audio_seconds=0.0, extracted_audio_seconds=0.0
        ),
    )


def classification_run(
    folds: Sequence[Fold] = (LARGE, SMALL),
    given: Sequence[Chosen[Fit]] | None = None,
    overrides: Sequence[str] = (),
    further: Sequence[Fit] = (),
) -> Run:
    """Return a run of classifiers; given: by default two seeds on two layer settings of two folds."""
    recipe = load_recipe("keyword", ["corpus.silence=null", "sweep.lr=[1e-4, 1e-3, 1e-2]", *overrides])
    dataset = many(folds)
    task = task_of(dataset)
    heads = chosen() if given is None else given
    return run_of(
        recipe, dataset, task, score_heads(heads, dataset, task, AskedFor(), recipe.split.test_parts), further
    )


# ---------------------------------------------------------------- verification

VOICES = ["v", "v", "w", "w", "x", "x"] * 2 + ["p", "p", "q", "q"]
VOICE_PARTS = ["close"] * 6 + ["far"] * 6 + ["train"] * 4
VERIFIED = Fold("published", (12, 13, 14, 15), (0, 1, 2), tuple(range(12)))


def all_pairs(utterances: Sequence[int]) -> Trials:
    pairs = torch.tensor(list(combinations(utterances, 2)))
    same = torch.tensor([VOICES[one] == VOICES[other] for one, other in pairs.tolist()])
    return Trials(pairs[:, 0], pairs[:, 1], same, f"all pairs of u{utterances[0]} to u{utterances[-1]}")


class RandomFrames:
    """Frames of each utterance, random and always the same, which hold something of the speaker."""

    audio_seconds = computed_seconds = 0.0

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[HiddenStates]:
        for group in groups:
            yield HiddenStates.from_utterances([self.frames(index) for index in group.tolist()])

    def frames(self, index: int) -> Tensor:
        voice = torch.randn(4, generator=torch.Generator().manual_seed(ord(VOICES[index])))
        return voice + torch.randn(2, 20 + index, 4, generator=torch.Generator().manual_seed(index))


def verification_run(*named: str) -> Run:
    """Return a run of two seeds of a verifier; named: the test parts, of "close" and "far"."""
    recipe = load_recipe("sv", [f"split.test=[{', '.join(named)}]"])
    trials = {tuple(own): all_pairs(own) for own in (range(6), range(6, 12), range(12), range(3))}
    targets = SpeakerTargets(("p", "q"), (-1,) * 12 + (0, 0, 1, 1), trials)
    dataset = small_dataset(VOICES, [VERIFIED], targets, VOICE_PARTS)
    task = VerificationTask(dataset, 2, 4, VerifierSettings(projection=4), TrialsSettings())
    fits = [
        Fit(0, Config(1e-3, seed), 20, -0.25, dict(task.build(seed, None).state_dict()), [(20, 0.5, -0.25)])
        for seed in (0, 1)
    ]
    scored = score_heads([Chosen(None, one) for one in fits], dataset, task, RandomFrames(), recipe.split.test_parts)
    return run_of(recipe, dataset, task, scored)
