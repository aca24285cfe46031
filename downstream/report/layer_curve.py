"""The scores of a record by layer: what tables, pictures and files of a sweep over layers are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from downstream.recipes import BEST
from downstream.results import MetricRecord, Result, Score
from downstream.training import LayerSetting


@dataclass(frozen=True)
class LayerCurve:
    """One metric on one test part of a record, layer by layer.

    metric, part: names; the primary ones by default (`of`).
    """

    result: Result
    metric: str
    part: str

    @classmethod
    def of(cls, result: Result, metric: str | None = None, part: str | None = None) -> LayerCurve:
        """Return the curve of a metric and test part, of the primary ones by default."""
        return cls(result, metric or result.primary.name, part or result.primary.part)

    @property
    def type(self) -> MetricRecord:
        """Title, unit and direction of the metric."""
        return self.result.metric_types[self.metric]

    @cached_property
    def scores(self) -> dict[LayerSetting, Score]:
        """The score of each layer setting, in the record's order; settings whose heads diverged are missing."""
        found = [(one.layer, score) for one in self.result.layers for score in one.scores]
        return {setting: score for setting, score in found if (score.metric, score.part) == (self.metric, self.part)}

    @property
    def alone(self) -> dict[int, Score]:
        """The scores of single layers, by number."""
        return {layer: self.scores[layer] for layer in sorted(n for n in self.scores if isinstance(n, int))}

    @property
    def together(self) -> Score | None:
        """The score of all layers together; None where the record has none."""
        return self.scores.get(None)

    @property
    def chosen(self) -> Score | None:
        """The score of the layer that development chose, on each fold and seed; None where the record has none."""
        return self.scores.get(BEST)

    @property
    def chance(self) -> float | None:
        """The chance level; None where it is not known."""
        return next(iter(self.scores.values())).chance


def sum_name(result: Result) -> str:
    """Return what the heads of all layers together read: heads that descend no gradient learn no weights of a sum."""
    return "weighted sum of all layers" if learns(result) else "average of all layers"


def learns(result: Result) -> bool:
    """Return True for a record whose heads were trained by gradient descent."""
    return any(fit.lr is not None for fit in result.grid)


def development_scores(result: Result) -> dict[int | None, dict[tuple[str, int], float]]:
    """Return the development scores by layer (None: the sum), then by fold and seed, the best of the learning rates.

    Fits without any finite score are left out.
    """
    best = max if result.metric_types[result.select].higher_is_better else min
    found: dict[int | None, dict[tuple[str, int], float]] = {}
    for fit in result.grid:
        own = found.setdefault(fit.layer, {})
        if fit.development is not None:
            at = (fit.fold, fit.seed)
            own[at] = best(own.get(at, fit.development), fit.development)
    return found


def mean_development(result: Result) -> dict[LayerSetting, float]:
    """Return the mean development score over folds and seeds by layer, of layers that have one on each of them."""
    found = development_scores(result)
    whole = max(map(len, found.values()))
    return {layer: float(np.mean(list(own.values()))) for layer, own in found.items() if len(own) == whole}


def choices(result: Result) -> dict[LayerSetting, int]:
    """Return in how many folds and seeds development prefers each single layer, the first one on a tie."""
    found = development_scores(result)
    alone = {layer: own for layer, own in found.items() if layer is not None}
    sign = 1 if result.metric_types[result.select].higher_is_better else -1
    counts: dict[LayerSetting, int] = dict.fromkeys(alone, 0)
    for at in {at for own in alone.values() for at in own}:
        counts[max((layer for layer in alone if at in alone[layer]), key=lambda layer: sign * alone[layer][at])] += 1
    return counts
