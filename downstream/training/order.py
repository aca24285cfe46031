"""Which utterances each update learns from: a pure function of a seed and the number of the update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from downstream.training.seeds import derived


@dataclass(frozen=True)
class Update:
    """The utterances of one update, in micro-batches.

    step: its number, counted from one.
    parts: the micro-batches, (B_i,) utterance indices each.
    size: utterances of an update whose micro-batches are all full.
    """

    step: int
    parts: tuple[Tensor, ...]
    size: int

    @cached_property
    def utterances(self) -> Tensor:
        """All micro-batches in a row, (size,); a short update is filled up with utterances of weight zero."""
        own = torch.cat(self.parts)
        return torch.cat([own, own[:1].expand(self.size - len(own))])

    @cached_property
    def weights(self) -> Tensor:
        """The weight of each of `utterances` in the loss, (size,); they sum to one.

        As in s3prl every micro-batch weighs the same, so in a smaller one each utterance weighs more.
        """
        weights = torch.zeros(self.size)
        torch.cat([self.weights_of(part) for part in self.parts], out=weights[: sum(map(len, self.parts))])
        return weights

    def weights_of(self, part: Tensor) -> Tensor:
        """The weights of one micro-batch, (B_i,)."""
        return torch.full((len(part),), 1.0 / (len(self.parts) * len(part)))


class Order:
    """The order of a fold's utterances: a fresh permutation every epoch.

    An update is `accumulate` micro-batches of `batch` utterances; it runs on across the ends of epochs, and the
    last micro-batch of an epoch may be smaller. Every epoch has a generator of its own, seeded by `seed` and its
    number, so any update can be had without those before it: that is all the position a resumed run needs.
    """

    def __init__(self, utterances: Sequence[int], batch: int, accumulate: int, seed: int) -> None:
        self._utterances = torch.tensor(utterances)
        self._batch, self._accumulate, self._seed = batch, accumulate, seed
        self._per_epoch = -(-len(utterances) // batch)
        self._epochs: dict[int, tuple[Tensor, ...]] = {}

    def update(self, step: int) -> Update:
        """The utterances of update `step`, counted from one."""
        first = (step - 1) * self._accumulate
        parts = [self._micro_batch(number) for number in range(first, first + self._accumulate)]
        return Update(step, tuple(parts), self._batch * self._accumulate)

    def _micro_batch(self, number: int) -> Tensor:
        epoch, position = divmod(number, self._per_epoch)
        if epoch not in self._epochs:
            self._epochs = {kept: parts for kept, parts in self._epochs.items() if kept == epoch - 1}
            self._epochs[epoch] = self._shuffled(epoch)
        return self._epochs[epoch][position]

    def _shuffled(self, epoch: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(derived(self._seed, f"order of epoch {epoch}"))
        order = torch.randperm(len(self._utterances), generator=generator)
        return torch.split(self._utterances[order], self._batch)
