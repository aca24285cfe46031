"""Norms of layers: of frames, of means, and of a sample where states are read again for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from downstream.states import Means, layer_norms
from downstream.states.norms import MEASURED
from upstream.base import HiddenStates, States

LONG = 100  # utterances
FRAMES = [torch.randn(2, 1 + index % 5, 3, generator=torch.Generator().manual_seed(index)) for index in range(LONG)]


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


def test_means_count_once_each_and_deviations_do_not() -> None:
    statistics = torch.randn(2, LONG, 6)
    found = layer_norms(Means(statistics), [3, 5, 99], dim=3)
    assert found == pytest.approx(statistics[:, [3, 5, 99], :3].norm(dim=2).mean(dim=1).tolist(), rel=1e-6)


def test_every_frame_counts_and_padding_does_not() -> None:
    found = layer_norms(Frames(), [0, 3, 4], dim=3)
    frames = torch.cat([FRAMES[0], FRAMES[3], FRAMES[4]], dim=1)
    assert found == pytest.approx(frames.norm(dim=2).mean(dim=1).tolist(), rel=1e-6)


def test_of_many_utterances_some_are_read_from_first_to_last() -> None:
    source = Frames()
    layer_norms(source, range(LONG), dim=3)
    assert len(set(source.read)) == MEASURED
    assert (source.read[0], source.read[-1]) == (0, LONG - 1)
