"""Where a head's states come from: means in memory, frames in the store, or the upstream itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from downstream.tasks.base import States
from upstream.base import HiddenStates, Upstream
from upstream.encode import Item, Memory, encode, seconds_of, waveforms_ahead
from upstream.store import StateStore

READERS = 2  # threads that read frames from the store ahead of the heads


class StateSource(Protocol):
    """States of a corpus's utterances, by their indices."""

    def batches(self, groups: Sequence[Tensor]) -> Iterator[States]:
        """The states of each group of utterances (B,), in order; the next are made ready while one is in use."""


class Means:
    """Per-layer means that all fit into memory: (L, U, D)."""

    def __init__(self, means: Tensor) -> None:
        self.means = means

    def batches(self, groups: Sequence[Tensor]) -> Iterator[Tensor]:
        return (self.means[:, group] for group in groups)


class StoredFrames:
    """Frames that the store holds; memory holds no more than the batches in use.

    audio_seconds: of audio whose frames were given out so far.
    """

    def __init__(self, store: StateStore, items: Sequence[Item]) -> None:
        self._store, self._items = store, items
        self.audio_seconds = 0.0

    def batches(self, groups: Sequence[Tensor]) -> Iterator[HiddenStates]:
        with ThreadPoolExecutor(READERS) as pool:
            ahead = [pool.submit(self._read, group) for group in groups[:READERS]]
            for index in range(len(groups)):
                states = ahead.pop(0).result()
                self.audio_seconds += seconds_of(self._items[which] for which in groups[index].tolist())
                if index + READERS < len(groups):
                    ahead.append(pool.submit(self._read, groups[index + READERS]))
                yield states

    def _read(self, group: Tensor) -> HiddenStates:
        return HiddenStates.from_utterances([self._store.frames(self._items[index].digest) for index in group.tolist()])


def move(states: States, device: torch.device) -> States:
    """The states on a device, in the precision of heads."""
    if isinstance(states, HiddenStates):
        return HiddenStates(states.layers.to(device, torch.float32), states.lengths)
    return states.to(device)


class Computed:
    """States that the upstream computes whenever they are needed, for want of a place to keep them.

    reduction: "means" where that is all the heads read, or "frames".
    audio_seconds: of audio that went through the upstream so far.
    """

    def __init__(self, upstream: Upstream, items: Sequence[Item], reduction: str) -> None:
        self._upstream, self._items, self._reduction = upstream, items, reduction
        self.audio_seconds = 0.0
        self._memory = Memory()  # what one batch teaches of it holds for all

    def batches(self, groups: Sequence[Tensor]) -> Iterator[States]:
        batches = [[self._items[index] for index in group.tolist()] for group in groups]
        for batch, waveforms in zip(batches, waveforms_ahead(batches), strict=True):
            states = encode(self._upstream, batch, waveforms, self._reduction, self._memory)
            self.audio_seconds += seconds_of(batch)
            yield torch.stack(states, dim=1) if self._reduction == "means" else HiddenStates.from_utterances(states)
