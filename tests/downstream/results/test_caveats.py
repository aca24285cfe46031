"""Notes on a score: when they are said, and when not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from chosen_heads import classification_run, fit, verification_run

from downstream.results.build import build_record
from downstream.results.caveats import against_chance, of_the_last_step, of_the_mix
from downstream.results.run import Run
from downstream.training.loop import Fit


@pytest.mark.parametrize(("step", "every", "said"), [(40, 20, True), (20, 20, False), (40, 40, False), (40, 50, False)])
def test_the_last_of_several_evaluations_is_doubted(step: int, every: int, said: bool) -> None:
    run = classification_run(overrides=["training.steps=40", f"training.evaluate_every={every}"])
    heads = [head.model_copy(update={"step": 20}) for head in build_record(run).heads]
    heads[0] = heads[0].model_copy(update={"step": step})
    found = of_the_last_step(run, heads)
    assert len(found) == said
    if said:
        assert f"at the last step, 40, for 1 of {len(heads)} chosen heads" in found[0]
        assert found[0].endswith("Try -o training.steps=80.")


@pytest.mark.parametrize("make", [classification_run, verification_run], ids=["higher is better", "lower is better"])
def test_a_score_below_chance_is_said_and_one_at_chance_is_not(make: object) -> None:
    run: Run = make()  # type: ignore[operator]
    first = build_record(run).layers[0]
    sign = run.family.metrics[run.recipe.primary].sign
    for worse, said in ((0.01, True), (0.0, False), (-0.01, False)):
        moved = [one.model_copy(update={"value": (one.chance or 0.0) - sign * worse}) for one in first.scores]
        found = against_chance(run, first.model_copy(update={"scores": moved}))
        assert len(found) == said, worse
        assert all(f"({run.family.chance_means})" in one and "is worse than chance" in one for one in found)
    unknown = [one.model_copy(update={"chance": None}) for one in first.scores]
    assert against_chance(run, first.model_copy(update={"scores": unknown})) == []


def test_a_superb_recipe_says_that_more_steps_leave_it() -> None:
    run = classification_run(overrides=["training.steps=40", "training.evaluate_every=20"])
    run = replace(run, recipe=run.recipe.model_copy(update={"protocol": "superb"}))
    heads = [head.model_copy(update={"step": 40}) for head in build_record(run).heads]
    assert of_the_last_step(run, heads)[0].endswith("training.steps=80, which is no longer SUPERB's recipe.")


def developed(layer: int | None, scores: Sequence[float], lr: float = 1e-3) -> list[Fit]:
    """Fits of one layer setting on two folds with two seeds each."""
    groups = [(fold, seed) for fold in (0, 1) for seed in (0, 3)]
    return [
        replace(fit(fold, seed, layer, lr), development=score)
        for (fold, seed), score in zip(groups, scores, strict=True)
    ]


def with_fits(*fits: list[Fit]) -> Run:
    return replace(classification_run(), fits=[one for own in fits for one in own])


def test_a_layer_that_beats_the_weighted_sum_is_named_with_its_gain() -> None:
    mix, steady = developed(None, [0.5, 0.5, 0.5, 0.5]), developed(1, [0.6, 0.5, 0.6, 0.5])
    erratic = developed(0, [0.9, 0.1, 0.5, 0.5])
    (said,) = of_the_mix(with_fits(mix, erratic, steady))
    assert said == (
        "On development, layer 1 alone is better than the weighted sum in 2 of 4 fits, by 5.00 points of accuracy on "
        "average."
    )
    assert of_the_mix(with_fits(mix, erratic)) == []
    assert of_the_mix(with_fits(mix)) == []
    assert of_the_mix(with_fits(steady)) == []


def test_the_best_rate_counts_on_both_sides() -> None:
    slow, fast = developed(None, [0.5] * 4), developed(None, [0.7] * 4, lr=1e-2)
    layer = developed(1, [0.6] * 4)
    assert of_the_mix(with_fits(slow, fast, layer)) == []
    assert "by 10.00 points" in of_the_mix(with_fits(slow, layer, developed(1, [0.1] * 4, lr=1e-2)))[0]


def test_a_layer_that_diverged_somewhere_is_not_compared() -> None:
    assert of_the_mix(with_fits(developed(None, [0.5] * 4), developed(1, [0.9, 0.9, 0.9, -math.inf]))) == []
