"""Everything that the record of a run is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from downstream.data import Dataset
from downstream.recipes import Options, Recipe
from downstream.results.given import GivenHeads
from downstream.results.record import FineTuning, Timing
from downstream.states import CachePlan
from downstream.tasks import Family, Metric, Task
from downstream.training import Fit, LayerSetting, ScoredHead
from upstream.base import Upstream


@dataclass(frozen=True)
class Run:
    """Everything that a record is made of.

    learned: digest of what the heads depend on. settings: the layer settings that there are scores for.
    fits: all of them; scored: those that were chosen and tested. layer_norms: of the states that they read.
    taken_from: the run that learned the heads, None for this one. finetuning: None where the encoder was frozen.
    given: heads that were learned before, if any.
    """

    upstream: Upstream
    recipe: Recipe
    options: Options
    family: Family
    task: Task
    dataset: Dataset
    plan: CachePlan
    learned: str
    settings: Sequence[LayerSetting]
    fits: Sequence[Fit]
    scored: Sequence[ScoredHead]
    layer_norms: Sequence[float]
    timing: Timing
    taken_from: str | None = None
    finetuning: FineTuning | None = None
    given: GivenHeads | None = None

    @cached_property
    def chosen(self) -> set[int]:
        """Identities of the fits that were chosen."""
        return {id(one.fit) for one in self.scored}

    @property
    def select(self) -> Metric:
        """The metric of the development score."""
        return self.family.metrics[self.recipe.select]
