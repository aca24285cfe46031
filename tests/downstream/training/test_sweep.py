"""Which fits the development score chooses for every layer setting."""

from __future__ import annotations

import math

from downstream.training.loop import Fit
from downstream.training.sweep import Chosen, Config, LayerSetting, choose

NEVER = -math.inf  # the development score of a head that diverged before its first evaluation


def fit(layer: int | None, score: float, fold: int = 0, seed: int = 0, lr: float | None = 1e-2) -> Fit:
    return Fit(fold, Config(lr, seed, layer), 10 if score > NEVER else 0, score)


def layers(chosen: list[Chosen[Fit]]) -> list[tuple[LayerSetting, int, int, int | None]]:
    """Setting, fold, seed and the layer that was chosen."""
    return [(one.setting, one.fit.fold, one.fit.config.seed, one.fit.config.layer) for one in chosen]


def test_best_is_the_layer_with_the_best_development_score() -> None:
    """The weighted sum does not compete, however good it is."""
    fits = [fit(None, 0.9), fit(0, 0.3), fit(1, 0.7), fit(2, 0.5)]
    assert layers(choose(fits, ["best"])) == [("best", 0, 0, 1)]
    assert layers(choose(fits, [None, "best"])) == [(None, 0, 0, None), ("best", 0, 0, 1)]


def test_every_fold_and_seed_has_a_best_layer_of_its_own() -> None:
    fits = [
        fit(0, 0.3), fit(1, 0.4), fit(0, 0.6, seed=1), fit(1, 0.5, seed=1),
        fit(0, -0.2, fold=1), fit(1, -0.1, fold=1), fit(0, -0.1, fold=1, seed=1), fit(1, -0.2, fold=1, seed=1),
    ]  # fmt: skip
    assert set(layers(choose(fits, ["best"]))) == {
        ("best", 0, 0, 1), ("best", 0, 1, 0), ("best", 1, 0, 1), ("best", 1, 1, 0)
    }  # fmt: skip


def test_learning_rates_compete_with_layers() -> None:
    fits = [fit(0, 0.3, lr=1e-2), fit(0, 0.6, lr=1e-3), fit(1, 0.5, lr=1e-2), fit(1, 0.4, lr=1e-3)]
    (best,) = choose(fits, ["best"])
    assert best.fit is fits[1]
    assert [one.fit for one in choose(fits, [1, "best", 0])] == [fits[2], fits[1], fits[1]]


def test_the_first_layer_wins_a_tie() -> None:
    fits = [fit(None, 0.7), fit(0, 0.2), fit(1, 0.7), fit(2, 0.7)]
    assert layers(choose(fits, ["best"])) == [("best", 0, 0, 1)]
    assert layers(choose([fits[3], *fits[:3]], ["best"])) == [("best", 0, 0, 2)]


def test_a_layer_that_diverged_is_never_best() -> None:
    fits = [fit(0, NEVER), fit(1, -5.0), fit(2, NEVER)]
    assert layers(choose(fits, ["best", 0])) == [("best", 0, 0, 1)]
    assert choose([fit(0, NEVER), fit(1, NEVER)], ["best"]) == []


def test_a_seed_without_any_layer_on_some_fold_has_no_best() -> None:
    fits = [
        fit(0, 0.3), fit(1, 0.4), fit(0, 0.6, seed=1),
        fit(0, NEVER, fold=1), fit(1, NEVER, fold=1), fit(0, 0.1, fold=1, seed=1),
    ]  # fmt: skip
    assert layers(choose(fits, ["best"])) == [("best", 0, 1, 0), ("best", 1, 1, 0)]


def test_a_family_that_learns_nothing_is_chosen_among_layers_alike() -> None:
    fits = [fit(0, 0.3, lr=None), fit(1, 0.4, lr=None)]
    assert layers(choose(fits, ["best"])) == [("best", 0, 0, 1)]
