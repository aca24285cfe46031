"""Training utterances of each update: a pure function of a seed and the number of the update."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from downstream.training.batching import Batching
from downstream.training.seeds import derived


@dataclass(frozen=True)
class Update:
    """The utterances of one update, in micro-batches.

    step: its number, counted from one.
    parts: the micro-batches, (B_i,) utterance indices each.
    size: utterances of an update whose micro-batches are all full.
    places: where the window begins in each utterance that is longer than the window, from 0, the earliest place, to
        1, the latest; (B_i,) float64 each.
    """

    step: int
    parts: tuple[Tensor, ...]
    size: int
    places: tuple[Tensor, ...]

    @cached_property
    def utterances(self) -> Tensor:
        """All micro-batches concatenated, (size,); a short update is padded with utterances of weight zero."""
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
        """Return the weights of one micro-batch, (B_i,)."""
        return torch.full((len(part),), 1.0 / (len(self.parts) * len(part)))


class Order:
    """The order of a fold's utterances, epoch after epoch.

    An update is `accumulate` micro-batches and may cross the end of an epoch. Every epoch is a function of its number
    alone, so any update can be computed without those before it: a resumed run needs only its number.
    """

    def __init__(self, batching: Batching, accumulate: int = 1) -> None:
        self._batching, self._accumulate = batching, accumulate
        self._epochs: dict[int, tuple[Tensor, ...]] = {}

    def update(self, step: int) -> Update:
        """Return the utterances of update `step`, counted from one."""
        first = (step - 1) * self._accumulate
        parts = tuple(self._micro_batch(number) for number in range(first, first + self._accumulate))
        places = self._places(step, parts)
        return Update(step, parts, self._batching.largest * self._accumulate, places)

    def _micro_batch(self, number: int) -> Tensor:
        epoch, position = divmod(number, self._batching.per_epoch)
        if epoch not in self._epochs:
            self._epochs = {kept: parts for kept, parts in self._epochs.items() if kept == epoch - 1}
            self._epochs[epoch] = self._batching.epoch(epoch)
        return self._epochs[epoch][position]

    def _places(self, step: int, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(derived(self._batching.seed, f"windows of update {step}"))
        drawn = torch.rand(sum(map(len, parts)), generator=generator, dtype=torch.float64)
        return torch.split(drawn, [len(part) for part in parts])
