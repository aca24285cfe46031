"""Heads on their upstream, ready for recordings: audio is decoded ahead, encoded in batches, and predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from downstream.recipes import EffectsSettings, Recipe
from downstream.results import HeadFile
from downstream.states import move
from downstream.tasks import Head, Predictor, errors_named
from upstream.base import HiddenStates, States, Upstream
from upstream.encode import Item, Memory, encode, seconds_of, waveforms_ahead, workers_for
from upstream.extract import bar_of_audio, plan
from upstream.store import rounded


@dataclass(frozen=True, kw_only=True)
class Applied:
    """Heads whose predictions are averaged, or one head; they are where their states will be.

    title: what they answer, for messages. heads: by name. reduction, codec: of the states that they read, as in
    `upstream.encode.encode` and in the store; codec None for states that were never rounded.
    effects: on the audio. sentence: who answers, and what is known of how good the answers are.
    notes: sentences on what was assumed of them.
    family: whose code they are, where errors of it are to be named; None for no family's.
    """

    title: str
    upstream: Upstream
    predictor: Predictor
    heads: dict[str, Head]
    reduction: str
    codec: str | None
    effects: EffectsSettings
    sentence: str
    family: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """The device of the heads: the CPU where they read no frames, as in training."""
        return self.upstream.device if self.reduction == "frames" else torch.device("cpu")

    @torch.no_grad()
    def predictions(self, items: Sequence[Item], progress: bool) -> Iterator[tuple[list[Item], list[Tensor]]]:
        """Yield batches of items with the prediction for each, on the CPU; the longest come first, equal audio once."""
        batches, memory = plan(items), Memory()
        with (
            bar_of_audio("predicting", batches, progress) as bar,
            closing(waveforms_ahead(batches, workers_for(self.upstream.device))) as decoded,
            nullcontext() if self.family is None else errors_named(self.family),
        ):
            for batch, waveforms in zip(batches, decoded, strict=True):
                states = encode(self.upstream, batch, waveforms, self.reduction, memory)
                yield batch, self._predicted(self._as_learned(states))
                bar.update(seconds_of(batch))

    def _as_learned(self, states: Sequence[Tensor]) -> States:
        """Return the states of a batch in the form that the heads learned from: rounded as the store rounds them."""
        if self.reduction != "frames":
            return torch.stack(list(states), dim=1).to(self.device)
        kept = states if self.codec is None else [rounded(own, self.codec) for own in states]
        return move(HiddenStates.from_utterances(kept), self.device)

    def _predicted(self, states: States) -> list[Tensor]:
        """Return the prediction for each recording of a batch, the mean over heads."""
        of_heads = [[own.cpu() for own in self.predictor.predict(head, states)] for head in self.heads.values()]
        if len(of_heads) == 1:
            return of_heads[0]
        return [torch.stack(own).mean(dim=0) for own in zip(*of_heads, strict=True)]


@dataclass(frozen=True, kw_only=True)
class AppliedHeads(Applied):
    """Heads of a run, or of a file of heads. about: the metadata of their file."""

    about: HeadFile
    recipe: Recipe
