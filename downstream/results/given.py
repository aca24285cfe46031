"""Heads that were learned before, here or by another program, to be tested on a corpus and not to be learned."""

from __future__ import annotations

from dataclasses import dataclass

from downstream.results.record import FoldOutputs, GivenRecord
from downstream.tasks import Head
from downstream.training import Config, LayerSetting

GIVEN_PROTOCOL = "given heads"  # of their scores, which are ranked among each other alone


@dataclass(frozen=True)
class GivenHead:
    """A head and the fold that it is tested on; step: of its training. setting: the layers that it was chosen for."""

    fold: str
    config: Config
    setting: LayerSetting
    step: int
    head: Head
    outputs: FoldOutputs


@dataclass(frozen=True)
class GivenHeads:
    """Heads to be tested, those of each fold; record: where they came from.

    digest: of their weights and of what they answer, on which fold.
    """

    heads: tuple[GivenHead, ...]
    record: GivenRecord
    digest: str

    @property
    def setting(self) -> LayerSetting:
        """The layers that they were chosen for; it is one."""
        return self.heads[0].setting

    @property
    def configs(self) -> list[Config]:
        """Their seeds and layers, each once."""
        return list(dict.fromkeys(head.config for head in self.heads))

    @property
    def folds(self) -> set[str]:
        """The folds that there are heads for."""
        return {head.fold for head in self.heads}

    def outputs_of(self, fold: str) -> FoldOutputs:
        """Return the meaning of the outputs of a fold's heads."""
        return next(head.outputs for head in self.heads if head.fold == fold)
