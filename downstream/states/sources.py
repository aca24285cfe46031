"""Sources of states: means or statistics in memory, frames in the store, or the upstream itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from downstream.data import Window
from upstream.base import SAMPLE_RATE, HiddenStates, States, Upstream
from upstream.encode import Item, Memory, encode, seconds_of, waveforms_ahead, workers_for
from upstream.store import StateStore

READERS = 2  # threads that read frames from the store ahead of the heads

# Cuts the states of one utterance (L, T, D) to a window that begins at a place from 0 to 1.
Cut = Callable[[Tensor, float], Tensor]


class StateSource(Protocol):
    """States of a dataset's utterances, by their indices.

    audio_seconds: seconds of audio whose states were read so far; 0 where heads read them from memory.
    computed_seconds: those of them that the upstream encoded.
    """

    @property
    def audio_seconds(self) -> float: ...

    @property
    def computed_seconds(self) -> float: ...

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[States]:
        """Yield the states of each group of utterances (B,), in order; the next are read while one is in use.

        places: where the window begins in each utterance that is longer than the window, from 0 (the earliest) to 1,
            (B,) per group; None for whole utterances.
        """


class Means:
    """Per-layer means of whole utterances that all fit into memory, (L, U, D), or means and deviations, (L, U, 2 D)."""

    audio_seconds = 0.0
    computed_seconds = 0.0

    def __init__(self, means: Tensor) -> None:
        self.means = means

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        return (self.means[:, group] for group in groups)


class StoredFrames:
    """Frames read from the store; memory holds no more than the batches in use."""

    computed_seconds = 0.0

    def __init__(self, store: StateStore, items: Sequence[Item], cut: Cut | None = None) -> None:
        """cut: applied to the states of an utterance where places are given."""
        self._store, self._items, self._cut = store, items, cut
        self.audio_seconds = 0.0

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[HiddenStates]:
        given: Sequence[Tensor | None] = places or [None] * len(groups)
        with ThreadPoolExecutor(READERS) as pool:
            ahead = [pool.submit(self._read, *pair) for pair in list(zip(groups, given, strict=True))[:READERS]]
            for index, group in enumerate(groups):
                states = ahead.pop(0).result()
                self.audio_seconds += seconds_of(self._items[which] for which in group.tolist())
                if index + READERS < len(groups):
                    ahead.append(pool.submit(self._read, groups[index + READERS], given[index + READERS]))
                yield states

    def _read(self, group: Tensor, places: Tensor | None) -> HiddenStates:
        states = [self._store.frames(self._items[index].digest) for index in group.tolist()]
        return HiddenStates.from_utterances(cut_all(states, places, self._cut))


class Computed:
    """States computed on the fly, because nothing is cached."""

    def __init__(
        self,
        upstream: Upstream,
        items: Sequence[Item],
        reduction: str,
        cut: Cut | None = None,
        window: float | None = None,
    ) -> None:
        """reduction: "means" or "statistics" where that is all the heads read, or "frames".

        cut: as for StoredFrames. window: seconds of audio; where places are given, the upstream encodes no more of an
            utterance than that.
        """
        self._upstream, self._items, self._reduction, self._cut = upstream, items, reduction, cut
        self._window = window
        self.audio_seconds = 0.0
        self._memory = Memory()  # the batch size that fits, found once for all

    @property
    def computed_seconds(self) -> float:
        return self.audio_seconds

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[States]:
        given: Sequence[Tensor | None] = places or [None] * len(groups)
        batches = [self._encoded(group, own) for group, own in zip(groups, given, strict=True)]
        decoded = waveforms_ahead(batches, workers_for(self._upstream.device))
        for batch, own, waveforms in zip(batches, given, decoded, strict=True):
            states = encode(self._upstream, batch, waveforms, self._reduction, self._memory)
            self.audio_seconds += seconds_of(batch)
            if self._reduction == "frames":
                yield HiddenStates.from_utterances(cut_all(states, own, self._cut))
            else:
                yield torch.stack(states, dim=1)

    def _encoded(self, group: Tensor, places: Tensor | None) -> list[Item]:
        return windowed_all([self._items[index] for index in group.tolist()], places, self._window)


class WithWindows:
    """Whole utterances from one source, windows of the longer ones from the upstream.

    Every draw is a new window of audio, so its states cannot be cached.
    """

    def __init__(self, whole: StateSource, windows: Computed, items: Sequence[Item], window: float) -> None:
        self._whole, self._windows = whole, windows
        self._is_long = torch.tensor([item.seconds > window for item in items])

    @property
    def audio_seconds(self) -> float:
        return self._whole.audio_seconds + self._windows.audio_seconds

    @property
    def computed_seconds(self) -> float:
        return self._windows.audio_seconds

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[States]:
        if places is None:
            yield from self._whole.batches(groups)
            return
        long = [self._is_long[group] for group in groups]
        whole = self._whole.batches([group[~own] for group, own in zip(groups, long, strict=True) if not own.all()])
        cut = self._windows.batches(
            [group[own] for group, own in zip(groups, long, strict=True) if own.any()],
            [place[own] for place, own in zip(places, long, strict=True) if own.any()],
        )
        for own in long:
            yield interleaved(None if own.all() else next(whole), next(cut) if own.any() else None, own)


def interleaved(whole: States | None, cut: States | None, is_cut: Tensor) -> States:
    """Return two batches merged into one, in the order of `is_cut` (B,)."""
    if whole is None or cut is None:
        return cut if whole is None else whole  # type: ignore[return-value]  # one of the two is there
    sources = iter(utterances_of(whole)), iter(utterances_of(cut))
    states = [next(sources[own]).to(is_cut.device) for own in is_cut.int().tolist()]
    if isinstance(whole, HiddenStates):
        return HiddenStates.from_utterances([one.float() for one in states])
    return torch.stack(states, dim=1)


def utterances_of(states: States) -> list[Tensor]:
    """Return the states of each utterance of a batch, (L, D) or (L, T_i, D)."""
    if isinstance(states, HiddenStates):
        return [states.utterance(index) for index in range(len(states.lengths))]
    return list(states.unbind(1))


def cut_all(states: Sequence[Tensor], places: Tensor | None, cut: Cut | None) -> Sequence[Tensor]:
    """Return the states of each utterance, cut where places are given."""
    if cut is None or places is None:
        return states
    return [cut(one, place) for one, place in zip(states, places.tolist(), strict=True)]


def windowed_all(items: list[Item], places: Tensor | None, seconds: float | None) -> list[Item]:
    """Return windows of utterances that begin at places (B,) from 0 to 1; whole ones where there is no window."""
    if seconds is None or places is None:
        return items
    return [windowed(item, place, seconds) for item, place in zip(items, places.tolist(), strict=True)]


def windowed(item: Item, place: float, seconds: float) -> Item:
    """Return a window of an utterance's audio, or the utterance where it is not longer than that."""
    if item.seconds <= seconds:
        return item
    return replace(item, audio=Window(item.audio, place, round(seconds * SAMPLE_RATE)), seconds=seconds)


def cut_of_states(upstream: Upstream, seconds: float) -> Cut:
    """Return a function that cuts states to as many frames as `seconds` of audio have."""
    frames = upstream.frames(seconds)

    def cut(states: Tensor, place: float) -> Tensor:
        spare = states.shape[1] - frames
        return states if spare <= 0 else states[:, min(int(place * (spare + 1)), spare) :][:, :frames]

    return cut


def move(states: States, device: torch.device) -> States:
    """Return the states on a device, in the precision of heads."""
    if isinstance(states, HiddenStates):
        return HiddenStates(states.layers.to(device, torch.float32), states.lengths)
    return states.to(device)
