"""Which fits the development score chooses for every layer setting."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from downstream.tasks.classification.metrics import METRICS
from downstream.training.loop import Fit
from downstream.training.sweep import Chosen, Config, LayerSetting, choose, clear_gain

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


def test_the_sum_is_chosen_unless_a_layer_is_clearly_better() -> None:
    fits = [
        fit(None, 0.60), fit(0, 0.69), fit(1, 0.50),
        fit(None, 0.60, fold=1), fit(0, 0.50, fold=1), fit(1, 0.71, fold=1),
    ]  # fmt: skip
    assert layers(choose(fits, ["chosen"], [0.1, 0.1])) == [("chosen", 0, 0, None), ("chosen", 1, 0, 1)]
    assert layers(choose(fits, ["chosen"], [0.05, 0.2])) == [("chosen", 0, 0, 0), ("chosen", 1, 0, None)]
    assert layers(choose(fits, ["chosen"])) == [("chosen", 0, 0, 0), ("chosen", 1, 0, 1)]


def test_an_equal_layer_is_not_chosen_and_a_sum_that_diverged_neither() -> None:
    assert layers(choose([fit(None, 0.5), fit(0, 0.5)], ["chosen"])) == [("chosen", 0, 0, None)]
    assert layers(choose([fit(None, NEVER), fit(0, 0.1)], ["chosen"], [9.0])) == [("chosen", 0, 0, 0)]
    assert layers(choose([fit(None, 0.1), fit(0, NEVER)], ["chosen"])) == [("chosen", 0, 0, None)]


def test_the_best_rates_of_sum_and_layer_are_compared() -> None:
    fits = [fit(None, 0.2), fit(None, 0.6, lr=1e-3), fit(0, 0.65), fit(0, 0.1, lr=1e-3)]
    (chosen,) = choose(fits, ["chosen"], [0.1])
    assert chosen.fit is fits[1]


@pytest.mark.parametrize(("utterances", "gain"), [(48, 0.0722), (300, 0.0289), (10_000, 0.005)])
def test_a_clear_gain_is_a_standard_error_of_a_share(utterances: int, gain: float) -> None:
    """That of the difference of two heads, of which one alone is right on a quarter of the utterances, simulated."""
    assert clear_gain(utterances, METRICS["accuracy"]) == pytest.approx(gain, abs=5e-5)
    assert clear_gain(utterances, replace(METRICS["accuracy"], percent=False)) == 0.0
    drawn = np.random.default_rng(0).choice([1, -1, 0], p=[0.125, 0.125, 0.75], size=(2000, utterances))
    assert drawn.mean(axis=1).std() == pytest.approx(gain, rel=0.06)
