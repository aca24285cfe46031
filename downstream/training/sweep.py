"""Configs of a sweep, and the choice of fits by their development scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from downstream.recipes import BEST, CHOSEN, Recipe
from downstream.tasks import Metric, layer_index
from upstream.errors import UserError

# Layers of a score: one layer by its number, None for the weighted sum, "best" for the layer that development chooses,
# "chosen" for the sum unless such a layer is clearly better.
LayerSetting = int | str | None


@dataclass(frozen=True)
class Config:
    """Hyperparameters of one head.

    lr: learning rate, of the encoder where that learns too; None for a family that learns nothing.
    seed: of its initial weights and of its dropout; the order of utterances has another seed.
    layer: the only layer it reads, None for the weighted sum of all.
    """

    lr: float | None
    seed: int
    layer: int | None = None

    @property
    def rate(self) -> float:
        """The learning rate of a head that is trained."""
        assert self.lr is not None
        return self.lr


def layer_settings(recipe: Recipe, num_layers: int, layer: int | None) -> list[LayerSetting]:
    """Return the layers that a run gives scores for, the primary one first.

    num_layers: of the upstream; a negative layer counts from the last. layer: the only one, where the recipe's sweep
    lists none, or one word alone (mix, best, chosen). A family that learns nothing has no weighted sum to learn, and
    takes the best layer by default.
    Raises UserError for a layer that the upstream does not have, and where both give layers.
    """
    wanted: Sequence[LayerSetting] = recipe.sweep.layers(num_layers)
    if layer is not None:
        if len(wanted) > 1 or any(isinstance(one, int) for one in wanted):
            raise UserError(
                f"Both -l {layer} and the recipe's sweep.layer say which layers to use; leave one of them out."
            )
        wanted = (layer,)
    elif not wanted:
        wanted = (BEST if recipe.learned is None else None,)
    return list(dict.fromkeys(layer_index(one, num_layers) if isinstance(one, int) else one for one in wanted))


def configs(recipe: Recipe, settings: Sequence[LayerSetting], num_layers: int, seed: int) -> list[Config]:
    """Return the configs of the recipe's sweep; where it lists no seed or learning rate, `seed` and the optimiser's.

    Configs of one layer stand together, in the order of `settings`; "best" takes every layer, "chosen" the sum too.
    """
    rates: Sequence[float | None] = recipe.sweep.lr or (recipe.rate,)
    seeds = recipe.sweep.seed or (seed,)
    layers: list[int | None] = []
    for setting in settings:
        layers += [None] if setting == CHOSEN else []
        layers += range(num_layers) if isinstance(setting, str) else [setting]
    return [Config(rate, one_seed, layer) for layer in dict.fromkeys(layers) for one_seed in seeds for rate in rates]


class Tried(Protocol):
    """The part of a fit that `choose` reads; development: -inf without any score."""

    @property
    def fold(self) -> int: ...
    @property
    def config(self) -> Config: ...
    @property
    def development(self) -> float: ...


AnyTried = TypeVar("AnyTried", bound=Tried)


@dataclass(frozen=True)
class Chosen(Generic[AnyTried]):
    """A fit that development chose, and the layer setting that it was chosen for."""

    setting: LayerSetting
    fit: AnyTried


def clear_gain(utterances: int, metric: Metric) -> float:
    """Return the gain in a development score on so many utterances that is more than chance: a standard error.

    That of the difference of two shares is √(d / n) where their heads differ on a share d of n utterances; for the
    quarter that heads on a sum and on one of its layers differ on, it is 1 / (2 √n): 7 points for 48 utterances, 3 for
    300, 0.5 for 10,000. For a metric that is no share nothing is known, and any gain counts. One standard error is the
    rule of Hastie, Tibshirani & Friedman, "The Elements of Statistical Learning", section 7.10.
    """
    return 1 / (2 * math.sqrt(utterances)) if metric.percent else 0.0


def choose(
    tried: Iterable[AnyTried], settings: Sequence[LayerSetting], clear_gains: Sequence[float] = ()
) -> list[Chosen[AnyTried]]:
    """Return for every layer setting, fold and seed the fit with the best development score, the first one on a tie.

    Learning rates compete, and for "best" layers too; seeds are repetitions and are not chosen among. For "chosen" the
    weighted sum is taken unless the best layer is better by more than the clear gain of the fold (0 by default), which
    keeps layers from winning by the luck of being many. A seed of a setting for which some fold has no fit with a
    development score (all diverged) is left out on all folds, since its mean over folds could not be compared with the
    others'.
    """
    tried = list(tried)
    folds = {one.fold for one in tried}
    handicaps = dict(enumerate(clear_gains))
    chosen: list[Chosen[AnyTried]] = []
    for setting in settings:
        best: dict[tuple[int, int], AnyTried] = {}
        if setting == CHOSEN:
            best = best_of(one for one in tried if one.config.layer is None)
            alone = best_of(one for one in tried if one.config.layer is not None)
            for group, one in alone.items():
                if group not in best or one.development > best[group].development + handicaps.get(one.fold, 0.0):
                    best[group] = one
        elif setting == BEST:
            best = best_of(one for one in tried if one.config.layer is not None)
        else:
            best = best_of(one for one in tried if one.config.layer == setting)
        counted = Counter(seed for _, seed in best)
        chosen += [Chosen(setting, one) for one in best.values() if counted[one.config.seed] == len(folds)]
    return chosen


def best_of(tried: Iterable[AnyTried]) -> dict[tuple[int, int], AnyTried]:
    """Return the fit with the best development score for each fold and seed; none where no score counted."""
    best: dict[tuple[int, int], AnyTried] = {}
    for one in tried:
        group = (one.fold, one.config.seed)
        if one.development > (best[group].development if group in best else -math.inf):
            best[group] = one
    return best
