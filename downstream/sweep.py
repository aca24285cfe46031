"""The points of a sweep, and which of them the development score chooses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from downstream.recipe import Recipe
from upstream.errors import MendableError
from upstream.weighted_sum import layer_index


@dataclass(frozen=True)
class Point:
    """What one head is learned with.

    lr: learning rate.
    seed: of its first weights and of its dropout; the order of utterances has a seed of its own.
    layer: the only layer it reads, None for the weighted sum of all.
    """

    lr: float
    seed: int
    layer: int | None = None


def points(recipe: Recipe, num_layers: int, seed: int, layer: int | None) -> list[Point]:
    """All points of the recipe's sweep; what it does not list is the recipe's learning rate, `seed` and `layer`.

    Points of one layer stand together, the first one listed first.
    num_layers: of the upstream; a negative layer counts from the last.
    Raises MendableError for a layer that the upstream does not have, and for layers from two sides.
    """
    sweep = recipe.sweep
    if sweep.layer and layer is not None:
        raise MendableError(
            f"Both -l {layer} and the recipe's sweep.layer say which layers to use; leave one of them out."
        )
    rates = sweep.lr or (recipe.optimizer.lr,)
    seeds = sweep.seed or (seed,)
    layers = distinct(
        None if one is None else layer_index(one, num_layers) for one in sweep.layers(num_layers) or (layer,)
    )
    return [Point(rate, one_seed, one_layer) for one_layer in layers for one_seed in seeds for rate in rates]


class Tried(Protocol):
    """A point that was learned on a fold, as far as choosing is concerned."""

    @property
    def fold(self) -> int: ...
    @property
    def point(self) -> Point: ...
    @property
    def development(self) -> float: ...
    @property
    def step(self) -> int: ...


AnyTried = TypeVar("AnyTried", bound=Tried)


def choose(tried: Iterable[AnyTried]) -> list[AnyTried]:
    """For every fold, seed and layer the learning rate with the best development score, the first one on a tie.

    Layers are questions and seeds are repetitions: neither is chosen. A seed on a layer of which some fold has no
    point with a development score (all diverged) is left out on all folds, since its mean over folds would be another
    thing than the others'.
    """
    tried = list(tried)
    best: dict[tuple[int, int, int | None], AnyTried] = {}
    for one in tried:
        group = (one.fold, one.point.seed, one.point.layer)
        if one.step > 0 and (group not in best or one.development > best[group].development):
            best[group] = one
    folds = {one.fold for one in tried}
    counted = Counter((one.point.seed, one.point.layer) for one in best.values())
    return [one for one in best.values() if counted[one.point.seed, one.point.layer] == len(folds)]


def distinct(values: Iterable[int | None]) -> Sequence[int | None]:
    """The values in order of first appearance."""
    return list(dict.fromkeys(values))
