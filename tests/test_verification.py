"""The verification family: which speakers a fold tells apart, and what becomes of heads that diverge."""

from __future__ import annotations

import math

import torch

from downstream.settings import HeadSettings
from downstream.speakers.trials import Trials
from downstream.tasks.base import initialised
from downstream.tasks.verification import Verification
from downstream.tasks.xvector import XVector
from upstream.base import HiddenStates

TRIALS = Trials(torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([True, False]), "two")


def task() -> Verification:
    """Utterances 0 to 2 are tested; the others are of speakers 0 to 3, whom some fold trains on."""
    targets = torch.tensor([-1, -1, -1, 0, 0, 1, 2, 3, 3])
    return Verification(1, 6, HeadSettings(projection=4), 4, targets, {(0, 1, 2): TRIALS})


def test_a_fold_tells_its_own_training_speakers_apart_and_no_others() -> None:
    own = task().of_fold((4, 5, 8))
    assert own.num_speakers == 3
    assert own.targets.tolist() == [-1, -1, -1, 0, 0, 1, -1, 2, 2]
    everyone = task().of_fold((3, 5, 6, 7))
    assert (everyone.num_speakers, everyone.targets.tolist()) == (4, task().targets.tolist())


def test_a_folds_head_is_what_it_would_be_if_there_were_no_other_speakers() -> None:
    states = HiddenStates(torch.randn(1, 2, 20, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([20, 18]))
    own = task().of_fold((4, 5, 8))
    alone = initialised(3, lambda: XVector(1, 6, 3, projection=4))
    losses = own.losses(own.build(3, None), states, torch.tensor([4, 8]))
    assert torch.equal(losses, alone.losses(states, torch.tensor([0, 2])))


def test_a_head_that_is_not_finite_has_the_worst_score_and_stops_nobody() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert task().score(embeddings, torch.arange(3)) == 0.0
    embeddings[2, 1] = torch.nan
    assert task().score(embeddings, torch.arange(3)) == -math.inf
