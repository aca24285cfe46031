"""The benchmark of pre-training: both peers carry out the same update."""

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.pretraining_speed import NEAR, OURS, RECIPE, THEIRS, difference_of_losses, learner

CPU = torch.device("cpu")


def test_updates_here_and_with_the_model_of_transformers_have_equal_losses() -> None:
    assert difference_of_losses(RECIPE, CPU) < NEAR


def test_losses_of_updates_with_other_masks_differ() -> None:
    """Else equal losses would say nothing."""
    ours, theirs = (learner(peer, RECIPE, "float32", 0.5, [0.5], CPU) for peer in (OURS, THEIRS))
    windows = theirs._windows.update(1)[0]
    windows[:] = [replace(window, mask=window.mask.roll(3)) for window in windows]
    expected = ours.learn(1, 1).loss
    assert abs(theirs.learn(1, 1).loss - expected) > 10 * NEAR * expected
