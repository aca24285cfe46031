"""Norms of layers: of what heads add up, by fold, and of a sample where states are read again for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from small_datasets import small_dataset
from torch import Tensor

from downstream.data import Dataset
from downstream.data.splits import Fold
from downstream.states import Means
from downstream.tasks.head import Head
from downstream.tasks.weighted_sum import WeightedSum
from downstream.training.loop import Fit
from downstream.training.norms import MEASURED, layer_norms
from downstream.training.scoring import ScoredHead
from downstream.training.sweep import Config
from upstream.base import HiddenStates, States

LONG = 100  # utterances
FRAMES = [torch.randn(2, 1 + index % 5, 3, generator=torch.Generator().manual_seed(index)) for index in range(LONG)]
MEANS = torch.stack([one.mean(dim=1) for one in FRAMES], dim=1)
ALL = [Fold("all", (0,), (1,), tuple(range(LONG)))]


class Frames:
    """A source of frames that counts what is read."""

    audio_seconds = 0.0
    computed_seconds = 0.0

    def __init__(self) -> None:
        self.read: list[int] = []

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[States]:
        for group in groups:
            self.read += group.tolist()
            yield HiddenStates.from_utterances([FRAMES[index] for index in group.tolist()])


class Summing(Head):
    def __init__(self, standardised: int | None = None) -> None:
        super().__init__()
        self.weighted_sum = WeightedSum(2, None, standardised)


def scored(heads: Sequence[Head]) -> list[ScoredHead]:
    """A head for each fold."""
    return [ScoredHead(None, Fit(fold, Config(1e-3, 0)), head, {}) for fold, head in enumerate(heads)]


def dataset(folds: Sequence[Fold]) -> Dataset:
    return small_dataset(["s"] * LONG, folds)


def test_of_means_every_utterance_counts_once_in_its_fold() -> None:
    folds = [Fold("one", (0,), (1,), (3, 5)), Fold("other", (0,), (1,), (7, 8, 9))]
    found = layer_norms(scored([Summing(), Summing()]), dataset(folds), Means(MEANS))
    each = [MEANS[:, list(fold.test)].norm(dim=2).mean(dim=1) for fold in folds]
    assert found == pytest.approx(torch.stack(each).mean(dim=0).tolist(), rel=1e-6)


def test_every_frame_counts_and_padding_does_not() -> None:
    fold = Fold("one", (1,), (2,), (0, 3, 4))
    found = layer_norms(scored([Summing()]), dataset([fold]), Frames())
    frames = torch.cat([FRAMES[0], FRAMES[3], FRAMES[4]], dim=1)
    assert found == pytest.approx(frames.norm(dim=2).mean(dim=1).tolist(), rel=1e-6)


def test_standardised_layers_are_measured_as_they_are_summed() -> None:
    head = Summing(standardised=3)
    centre, scale = MEANS.mean(dim=1), 2.0 + torch.rand(2, 3)
    head.weighted_sum.standardise(centre, scale)
    found = layer_norms(scored([head]), dataset(ALL), Means(MEANS))
    expected = ((MEANS - centre[:, None]) / scale[:, None]).norm(dim=2).mean(dim=1)
    assert found == pytest.approx(expected.tolist(), rel=1e-6)


def test_of_many_utterances_some_are_read_again_from_first_to_last() -> None:
    source = Frames()
    layer_norms(scored([Summing()]), dataset(ALL), source)
    assert len(set(source.read)) == MEASURED
    assert (source.read[0], source.read[-1]) == (0, LONG - 1)
