"""Heads on their upstream, ready for recordings: audio is decoded ahead, encoded in batches, and predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from downstream.recipes import Recipe
from downstream.results import HeadFile
from downstream.states import move
from downstream.tasks import Head, Predictor, errors_named, family_of
from upstream.base import HiddenStates, States, Upstream
from upstream.encode import Item, Memory, encode, seconds_of, waveforms_ahead, workers_for
from upstream.extract import bar_of_audio, plan
from upstream.store import rounded


@dataclass(frozen=True)
class AppliedHeads:
    """Heads whose predictions are averaged, or one head; they are where their states will be.

    about: the metadata of their file. heads: by name.
    """

    about: HeadFile
    recipe: Recipe
    upstream: Upstream
    predictor: Predictor
    heads: dict[str, Head]

    @property
    def device(self) -> torch.device:
        """The device of the heads: the CPU where they read no frames, as in training."""
        return self.upstream.device if self.about.states.reduction == "frames" else torch.device("cpu")

    @property
    def sentence(self) -> str:
        """Who answers, and what is known of how good the answers are."""
        about, count = self.about, len(self.heads)
        who = f"The head {next(iter(self.heads))}" if count == 1 else f"The mean of {count} heads"
        if about.score is None:
            whose = "" if about.origin is None else f"; learned by {about.origin.sentence}, its score not measured here"
            return f"{who} of {self.recipe.name} on {self.upstream.name} answers{whose}."
        metric = family_of(self.recipe).metrics[about.score.name]
        part = "" if about.score.part == "test" else f"the part {about.score.part} of "
        whose = "the run's score" if self.is_tested else "the score of heads that learned from less"
        return (
            f"{who} of {self.recipe.name} on {self.upstream.name} answers; {whose} is {metric.title} "
            f"{metric.written(about.score.value)}{metric.unit} on {part}{about.corpus.title}."
        )

    @property
    def is_tested(self) -> bool:
        """False for a head that learned from all data, which has no development score either."""
        return all(self.about.heads[name].development is not None for name in self.heads)

    @torch.no_grad()
    def predictions(self, items: Sequence[Item], progress: bool) -> Iterator[tuple[list[Item], list[Tensor]]]:
        """Yield batches of items with the prediction for each, on the CPU; the longest come first, equal audio once."""
        batches, memory = plan(items), Memory()
        with (
            bar_of_audio("predicting", batches, progress) as bar,
            closing(waveforms_ahead(batches, workers_for(self.upstream.device))) as decoded,
            errors_named(self.recipe.task),
        ):
            for batch, waveforms in zip(batches, decoded, strict=True):
                states = encode(self.upstream, batch, waveforms, self.about.states.reduction, memory)
                yield batch, self._predicted(self._as_learned(states))
                bar.update(seconds_of(batch))

    def _as_learned(self, states: Sequence[Tensor]) -> States:
        """Return the states of a batch in the form that the heads learned from: rounded as the store rounds them."""
        if self.about.states.reduction != "frames":
            return torch.stack(list(states), dim=1).to(self.device)
        codec = self.about.states.codec
        kept = states if codec is None else [rounded(own, codec) for own in states]
        return move(HiddenStates.from_utterances(kept), self.device)

    def _predicted(self, states: States) -> list[Tensor]:
        """Return the prediction for each recording of a batch, the mean over heads."""
        of_heads = [[own.cpu() for own in self.predictor.predict(head, states)] for head in self.heads.values()]
        if len(of_heads) == 1:
            return of_heads[0]
        return [torch.stack(own).mean(dim=0) for own in zip(*of_heads, strict=True)]
