"""The verification family: which speakers a fold tells apart, and what becomes of heads that diverge."""

from __future__ import annotations

import math

import pytest
import torch
from small_datasets import small_dataset
from torch import Tensor

import upstream
from downstream.data.dataset import Part
from downstream.data.splits import Fold, Split
from downstream.tasks.head import initialised
from downstream.tasks.registry import family_of, load_recipe
from downstream.tasks.verification.family import SpeakerTargets, VerificationTask, speaker_targets
from downstream.tasks.verification.recipe import TrialsSettings, VerifierSettings
from downstream.tasks.verification.trials import Trials
from downstream.tasks.verification.xvector import XVector
from downstream.training.loop import development_score
from upstream.base import HiddenStates

TRIALS = Trials(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([True, False]), "two")
FOLD = Fold("fold", tuple(range(3, 9)), (0, 1, 2), ())


def task() -> VerificationTask:
    """Utterances 0 to 2 are tested; the others are of speakers 0 to 3, whom some fold trains on."""
    numbers = (-1, -1, -1, 0, 0, 1, 2, 3, 3)
    targets = SpeakerTargets(tuple("abcd"), numbers, {(0, 1, 2): TRIALS})
    dataset = small_dataset(["x", "x", "y", *("abcd"[number] for number in numbers[3:])], [FOLD], targets)
    return VerificationTask(dataset, 1, 6, VerifierSettings(projection=4), TrialsSettings())


def test_a_fold_tells_its_own_training_speakers_apart_and_no_others() -> None:
    own = task().of_fold((4, 5, 8))
    assert own.num_speakers == 3
    assert own.targets.tolist() == [-1, -1, -1, 0, 0, 1, -1, 2, 2]
    everyone = task().of_fold((3, 5, 6, 7))
    assert (everyone.num_speakers, everyone.targets.tolist()) == (4, task().targets.tolist())
    assert task().targets.tolist() == [-1, -1, -1, 0, 0, 1, 2, 3, 3]


def test_a_folds_head_is_what_it_would_be_if_there_were_no_other_speakers() -> None:
    states = HiddenStates(torch.randn(1, 2, 20, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([20, 18]))
    own = task().of_fold((4, 5, 8))
    alone = initialised(3, lambda: XVector(1, 6, 3, projection=4))
    losses = own.losses(own.build(3, None), states, torch.tensor([4, 8]))
    assert torch.equal(losses, alone.losses(states, torch.tensor([0, 2])))


def developed(embeddings: Tensor, select: str = "eer") -> float:
    return development_score(task(), embeddings, Part(FOLD, "dev", FOLD.dev, is_test=False), select)


@pytest.mark.parametrize("select", ["eer", "min_dcf_0.01"])
def test_a_head_that_is_not_finite_has_the_worst_score_and_stops_nobody(select: str) -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert developed(embeddings, select) == 0.0
    embeddings[2, 1] = torch.nan
    assert developed(embeddings, select) == -math.inf


def test_all_speakers_are_numbered_and_classes_are_those_that_a_fold_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = (Fold("one", (0,), (1,), (2,)), Fold("two", (3, 4), (), (1,)))
    dataset = small_dataset(["b", "a", "d", "c", "b"], folds)
    monkeypatch.setattr(
        "downstream.tasks.verification.family.plan_trials", lambda *_: (Split(folds, "rule"), {})
    )  # with so few utterances there are none
    finished = family_of(load_recipe("sv")).finish(dataset)
    targets = speaker_targets(finished)
    assert (targets.speakers, targets.numbers) == (("a", "b", "c", "d"), (1, 0, 3, 2, 1))
    task = family_of(load_recipe("sv")).task(finished, upstream.load("fbank"))
    assert task.targets.tolist() == [0, -1, -1, 1, 0]  # type: ignore[attr-defined]
    assert task.of_fold(folds[0].train).targets.tolist() == [0, -1, -1, -1, 0]  # type: ignore[attr-defined]
