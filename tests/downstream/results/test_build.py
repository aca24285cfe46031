"""From a run to its record: heads, folds, layers, the grid; every metric of every test part with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from chosen_heads import LARGE, PARTS, SMALL, chosen, classification_run, fit, verification_run
from small_datasets import whole_test

from downstream.data.dataset import Part, parts_of_test
from downstream.data.splits import Fold
from downstream.results.build import build_record, chance_of, fit_record, fold_record, head_record, layer_scores
from downstream.results.record import Result
from downstream.results.run import Run
from downstream.statistics import SeedItems, score_intervals
from downstream.tasks.base import Task
from downstream.tasks.classification.metrics import METRICS
from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.training.loop import Fit
from downstream.training.sweep import Chosen, Config


def of_errors(run: Run) -> Run:
    """The run as if its metrics were error rates, which are learned as negatives."""
    metrics = {name: replace(metric, higher_is_better=False) for name, metric in METRICS.items()}
    return replace(run, family=SimpleNamespace(metrics=metrics))


def test_records_of_heads_and_folds() -> None:
    run = classification_run()
    records = [head_record(one, run) for one in run.scored]
    for one, record in zip(run.scored, records, strict=True):
        config = one.fit.config
        assert (record.fold, record.seed, record.layer) == (
            run.dataset.split.folds[one.fit.fold].name, config.seed, config.layer,
        )  # fmt: skip
        assert record.setting == one.setting
        assert (record.step, record.lr, record.development) == (20, 1e-3, 0.75)
        assert record.details["test"]["confusion"] == one.evaluations["test"].details()["confusion"]
        assert sum(record.layer_weights) == pytest.approx(1.0)
    assert head_record(run.scored[0], of_errors(run)).development == -0.75
    first = [record for record in records if record.setting == records[0].setting]
    large, small = (fold_record(number, first, chance_of(run, number), run) for number in (0, 1))
    assert (large.name, small.name, large.test.utterances, small.test.utterances) == ("large", "small", 78, 2)
    own = [r.metrics["test"]["macro_f1"] for r in first if r.fold == "large"]
    assert len(own) == 2
    assert large.metrics["test"]["macro_f1"] == pytest.approx(sum(own) / 2)
    assert small.chance == run.task.chance(whole_test(SMALL))["accuracy"]


def test_scores_of_layers_are_means_over_folds_and_seeds() -> None:
    run = classification_run()
    records = [head_record(one, run) for one in run.scored]
    chance = [chance_of(run, number) for number in (0, 1)]
    layers = [layer_scores(setting, records, chance, run) for setting in run.settings]
    assert {one.layer for one in layers} == {None, 1}
    for layer in layers:
        own = [record for record in records if record.setting == layer.layer]
        assert len(own) == 4
        assert [(score.part, score.metric) for score in layer.scores] == [("test", metric) for metric in METRICS]
        tested = [
            SeedItems(head.fit.config.seed, head.evaluations["test"].items())
            for head in run.scored
            if head.setting == layer.layer
        ]
        for one in layer.scores:
            assert one == layer.score(one.metric)
            assert one.value == pytest.approx(np.mean([record.metrics["test"][one.metric] for record in own]))
            for seed in (0, 3):
                assert one.by_seed[seed] == pytest.approx(
                    np.mean([record.metrics["test"][one.metric] for record in own if record.seed == seed])
                )
            possible = {one.metric: METRICS[one.metric].range}
            interval = score_intervals(tested, {one.metric: one.value}, possible)[one.metric]
            assert (one.low, one.high, one.interval) == (interval.low, interval.high, interval.how)
            assert one.low < one.value < one.high
            assert one.chance == pytest.approx(np.mean([fold["test"][one.metric] for fold in chance]))


def test_the_grid_keeps_what_was_not_chosen_and_what_diverged() -> None:
    beaten, lost = fit(0, 0, None, lr=1e-4), Fit(1, Config(10.0, 0, None), diverged=7)
    run = of_errors(classification_run(further=[beaten, lost]))
    grid = [fit_record(one, run) for one in run.fits]
    assert [one.chosen for one in grid] == [True] * 8 + [False] * 2
    assert (grid[8].lr, grid[8].development, grid[8].curve[-1][2], grid[8].diverged) == (1e-4, -0.75, -0.75, None)
    assert (grid[9].fold, grid[9].development, grid[9].curve, grid[9].diverged) == ("small", None, [], 7)


def test_what_is_not_finite_is_null() -> None:
    lost = Fit(1, Config(10.0, 0, None), history=[(10, math.nan, -math.inf), (20, 0.5, 0.25)], diverged=20)
    run = classification_run(further=[lost])
    assert fit_record(lost, run).curve == [(10, None, None), (20, 0.5, 0.25)]


def test_a_record_is_of_the_first_layer_setting_and_the_primary_metric() -> None:
    run = classification_run(overrides=["primary=macro_f1"])
    record = build_record(run)
    assert [layer.layer for layer in record.layers] == [None, 1]
    wanted = record.layers[0].score("macro_f1")
    assert (record.primary.name, record.primary.part, record.primary.value) == ("macro_f1", "test", wanted.value)
    assert (record.primary.low, record.primary.high, record.primary.interval) == (
        wanted.low, wanted.high, wanted.interval,
    )  # fmt: skip
    assert record.metrics == {score.metric: score.value for score in record.layers[0].scores}
    assert record.chance == pytest.approx(np.mean([fold.chance for fold in record.folds]))
    assert record.chance == pytest.approx(wanted.chance)
    assert [head.setting for head in record.primary_heads()] == [None] * 4
    assert record.seeds == {"head": [0, 3], "order": [0]}
    assert record.select == "macro_f1"
    assert Result.model_validate_json(record.model_dump_json(by_alias=True)) == record


def test_the_best_layer_is_a_setting_beside_the_layer_that_it_is() -> None:
    given = chosen()
    best = [Chosen("best", one.fit) for one in given if one.setting == 1]
    record = build_record(classification_run(given=[*best, *given]))
    assert [layer.layer for layer in record.layers] == ["best", None, 1]
    assert {(head.setting, head.layer) for head in record.heads} == {("best", 1), (None, None), (1, 1)}
    by_layer = {layer.layer: layer.score("accuracy").value for layer in record.layers}
    assert record.primary.value == by_layer["best"] == by_layer[1]
    assert [one.chosen for one in record.grid] == [True] * 12


# ---------------------------------------------------------------- test parts

PUBLISHED = Fold("published", (0, 1), (), tuple(range(2, 80)))


def parted(*named: str) -> Run:
    heads = [Chosen(None, fit(0, seed, None)) for seed in (0, 3)]
    return classification_run([PUBLISHED], heads, [f"split.test=[{', '.join(named)}]"])


def test_a_classifier_with_two_parts_is_not_pooled() -> None:
    run = parted("noisy", "clean")
    record = build_record(run)
    assert [(one.part, one.metric) for one in record.layers[0].scores] == [
        (part, metric) for part in ("noisy", "clean") for metric in METRICS
    ]
    assert (record.primary.part, record.primary.value) == ("noisy", record.layers[0].score("accuracy", "noisy").value)
    assert record.layers[0].score("accuracy") == record.layers[0].score("accuracy", "noisy")
    assert set(record.metrics) == set(METRICS)
    parts = parts_of_test(run.dataset, PUBLISHED, ("noisy", "clean"))
    for part in parts:
        evaluations = [one.evaluations[part.name] for one in run.scored]
        for metric in METRICS:
            score = record.layers[0].score(metric, part.name)
            assert score.value == pytest.approx(np.mean([one.value(metric) for one in evaluations]))
            assert score.chance == pytest.approx(run.task.chance(part)[metric])
            assert score.low <= score.value <= score.high
            assert score.low < score.high
    (fold,) = record.folds
    assert list(fold.parts) == list(fold.metrics) == ["noisy", "clean"]
    for part in ("noisy", "clean"):
        assert fold.parts[part].utterances == sum(PARTS[i] == part for i in PUBLISHED.test)
        assert sum(fold.parts[part].labels.values()) == fold.parts[part].utterances
    assert fold.test.utterances == 78
    assert fold.chance == record.layers[0].score("accuracy", "noisy").chance
    assert [list(head.details) for head in record.heads] == [["noisy", "clean"]] * 2
    totals = {part: int(np.sum(record.heads[0].details[part]["confusion"])) for part in fold.parts}
    assert totals == {part: fold.parts[part].utterances for part in fold.parts}


def test_naming_the_other_part_first_makes_it_primary_and_changes_no_score() -> None:
    one, other = build_record(parted("noisy", "clean")), build_record(parted("clean", "noisy"))
    assert (one.primary.part, other.primary.part) == ("noisy", "clean")
    assert one.primary.value != other.primary.value
    for score in one.layers[0].scores:
        assert other.layers[0].score(score.metric, score.part) == score


def test_folds_are_not_divided_by_the_parts_of_a_published_split() -> None:
    run = classification_run(overrides=["split.rule=speaker_folds", "split.test=[noisy]"])
    record = build_record(run)
    assert {part for fold in record.folds for part in fold.parts} == {"test"}
    assert LARGE.name in {fold.name for fold in record.folds}


def test_verifications_parts_have_every_metric_with_its_interval() -> None:
    run = verification_run("far", "close")
    record = build_record(run)
    metrics = ["eer", "min_dcf_0.01", "min_dcf_0.05"]
    assert [(one.part, one.metric) for one in record.layers[0].scores] == [
        (part, metric) for part in ("far", "close") for metric in metrics
    ]
    assert (record.primary.name, record.primary.part) == ("eer", "far")
    for part in ("far", "close"):
        for metric in metrics:
            score = record.layers[0].score(metric, part)
            assert score.low <= score.value <= score.high
            assert score.low < score.high
            assert score.interval.startswith(
                "95 %, t over 3 test speakers, or over 2 seeds where that is wider (jackknife)"
            )
            assert score.chance == (0.5 if metric == "eer" else 1.0)
    rules = {part: record.heads[0].details[part]["trials"]["rule"] for part in ("far", "close")}
    assert rules == {"far": "all pairs of u6 to u11", "close": "all pairs of u0 to u5"}
    assert record.heads[0].development == 0.25


def test_a_score_that_knowing_nothing_reaches_is_said_to_say_nothing() -> None:
    """All test utterances of one class, which is the commonest in training, too."""
    run = classification_run()
    assert not any("no head can do better" in caveat for caveat in build_record(run).caveats)

    class AlwaysRight(type(run.task)):  # type: ignore[misc]
        def chance(self, part: Part) -> dict[str, float]:
            return dict.fromkeys(METRICS, 1.0)

        def caveats(self) -> list[str]:
            return ["The task has a caveat."]

        def of_fold(self, train: Sequence[int]) -> Task:
            return self

    task = AlwaysRight(run.dataset, 2, 4, ClassifierSettings(projection=3))
    found = build_record(replace(run, task=task)).caveats
    assert found[:2] == [
        f"Chance on the part test ({run.family.chance_means}) is accuracy 100.00 %: no head can do better, and the "
        "score says nothing.",
        "The task has a caveat.",
    ]
