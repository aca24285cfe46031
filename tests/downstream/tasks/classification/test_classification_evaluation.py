"""Evaluation of classifiers, worked by hand on predictions that are written down."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from small_datasets import small_dataset, whole_test
from torch import Tensor

from downstream.data.dataset import Part, development_part, parts_of_test
from downstream.data.splits import Fold
from downstream.statistics import NO_SPEECH, SeedItems
from downstream.statistics.jackknife import jackknives
from downstream.tasks.classification.data import ClassTargets
from downstream.tasks.classification.family import ClassificationEvaluation, ClassificationTask
from downstream.tasks.classification.metrics import METRICS
from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.tasks.registry import family_of, load_recipe

CLASSES = ("low", "middle", "high")
TARGETS = (0, 0, 1, 1, 2, 2, 0, 1, 2, 2)
SPEAKERS = ["a", "b", "a", "a", "b", "c", "c", "", "", "d"]
ONE, TWO = Fold("one", (6, 8, 9), (), (0, 1, 2, 3, 4, 7)), Fold("two", (0, 1, 2), (), (5, 6, 8, 9))
DATASET = small_dataset(SPEAKERS, [ONE, TWO], ClassTargets(CLASSES, TARGETS))
TASK = ClassificationTask(DATASET, 2, 4, ClassifierSettings(projection=3))
ANSWERS = {"one": [0, 1, 1, 1, 0, 1], "two": [2, 2, 2, 0]}


def posteriors(answers: Sequence[int]) -> list[Tensor]:
    return [torch.tensor([0.1, 0.1, 0.1]).index_fill(0, torch.tensor(answer), 0.8) for answer in answers]


def classified(fold: Fold, answers: Sequence[int] | None = None) -> ClassificationEvaluation:
    return TASK.evaluate(posteriors(answers or ANSWERS[fold.name]), whole_test(fold))


def test_a_classifiers_metrics_are_scikit_learns() -> None:
    truth, answers = [TARGETS[i] for i in ONE.test], ANSWERS["one"]
    found = classified(ONE)
    assert found.value("accuracy") == pytest.approx(4 / 6)
    assert found.value("unweighted_accuracy") == pytest.approx(sklearn_metrics.balanced_accuracy_score(truth, answers))
    assert found.value("macro_f1") == pytest.approx(sklearn_metrics.f1_score(truth, answers, average="macro"))
    assert found.details() == {"confusion": [[1, 1, 0], [0, 3, 0], [1, 0, 0]]}
    assert (TASK.outputs(ONE), TASK.predicted(whole_test(ONE)), found.files()) == (CLASSES, ONE.test, {})


def test_development_is_evaluated_by_the_same_function() -> None:
    fold = Fold("dev", (6,), ONE.test, TWO.test)
    developed = TASK.evaluate(posteriors(ANSWERS["one"]), development_part(fold))
    assert {name: developed.value(name) for name in METRICS} == {name: classified(ONE).value(name) for name in METRICS}


def test_predictions_may_be_one_tensor_or_one_each() -> None:
    single, part = posteriors(ANSWERS["one"]), whole_test(ONE)
    assert TASK.evaluate(torch.stack(single), part).rows() == TASK.evaluate(single, part).rows()


def test_a_classifiers_items_depend_on_their_speakers() -> None:
    """A recording without a speaker counts by itself."""
    items = classified(TWO).items()
    assert items.clusters == (("c",), ("c",), (f"{NO_SPEECH}u8",), ("d",))
    assert {name: items.value(name) for name in METRICS} == {name: classified(TWO).value(name) for name in METRICS}


def test_every_test_utterance_has_a_row() -> None:
    rows = classified(TWO).rows()
    assert [row["id"] for row in rows] == ["u5", "u6", "u8", "u9"]
    assert rows[1] == {"id": "u6", "speaker": "c", "label": "low", "predicted": "high", "posteriors": [0.1, 0.1, 0.8]}


def test_a_metric_without_a_speaker_is_that_of_the_other_utterances() -> None:
    truth, answers = [TARGETS[i] for i in ONE.test], ANSWERS["one"]
    others = [place for place, index in enumerate(ONE.test) if SPEAKERS[index] != "b"]
    truth, answers = [truth[i] for i in others], [answers[i] for i in others]
    left_out = jackknives([SeedItems(0, classified(ONE).items())], tuple(METRICS))
    found = {name: one.without[2] for name, one in left_out.items()}
    assert 0 < len(others) < len(ONE.test)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(truth, answers))
    assert found["unweighted_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(truth, answers))
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(truth, answers, average="macro"))


def test_a_classifier_that_knows_nothing_answers_the_commonest_training_class() -> None:
    # Trained on low, high, high; one "high" is tested.
    assert TASK.chance(whole_test(ONE))["accuracy"] == pytest.approx(1 / 6)
    assert TASK.chance(whole_test(TWO))["accuracy"] == pytest.approx(1 / 4)


def test_chance_is_of_every_metric() -> None:
    """Always answering the commonest class: half is right, the mean recall of three classes is a third, and so on."""
    chance = TASK.chance(whole_test(Fold("f", (4, 5, 6), (), (0, 1, 2, 3, 4, 5, 8, 9))))
    assert chance["accuracy"] == pytest.approx(1 / 2)
    assert chance["unweighted_accuracy"] == pytest.approx(1 / 3)
    assert chance["macro_f1"] == pytest.approx((0 + 0 + 2 * 4 / (4 + 8)) / 3)
    assert set(chance) == set(METRICS)


# ---------------------------------------------------------------- test parts

PARTS = ["clean", "noisy", "noisy", "clean", "noisy", "clean", "dev", "clean", None, "noisy"]
FOLD = Fold("published", (6,), (), (0, 1, 2, 3, 4, 5, 7, 9))
GIVEN = dict(zip(FOLD.test, [0, 1, 1, 1, 0, 1, 1, 2], strict=True))


def evaluated(*named: str) -> dict[str, ClassificationEvaluation]:
    dataset = small_dataset(SPEAKERS, [FOLD], ClassTargets(CLASSES, TARGETS), PARTS)
    task = ClassificationTask(dataset, 2, 4, ClassifierSettings())
    return {
        part.name: task.evaluate(posteriors([GIVEN[index] for index in part.utterances]), part)
        for part in parts_of_test(dataset, FOLD, named)
    }


def test_test_parts_are_evaluated_apart_the_first_named_one_first() -> None:
    found = evaluated("noisy", "clean")
    assert list(found) == ["noisy", "clean"]
    assert list(evaluated("clean", "noisy")) == ["clean", "noisy"]
    # Of u1, u2, u4, u9 (low, middle, high, high) the second and the last are right; of u0, u3, u5, u7 all but u5.
    assert found["noisy"].value("accuracy") == pytest.approx(2 / 4)
    assert found["clean"].value("accuracy") == pytest.approx(3 / 4)
    assert [row["id"] for row in found["noisy"].rows()] == ["u1", "u2", "u4", "u9"]
    assert found["noisy"].details() == {"confusion": [[0, 1, 0], [0, 1, 0], [1, 0, 1]]}
    assert set(found["clean"].items().clusters) == {("a",), ("c",), (f"{NO_SPEECH}u7",)}


def test_utterances_of_no_named_part_are_one_part_more() -> None:
    found = evaluated("noisy")
    assert list(found) == ["noisy", "test"]
    assert found["test"].value("accuracy") == pytest.approx(3 / 4)
    pooled = evaluated()
    assert list(pooled) == ["test"]
    assert pooled["test"].value("accuracy") == pytest.approx(5 / 8)


def test_chance_is_of_the_part() -> None:
    dataset = small_dataset(SPEAKERS, [FOLD], ClassTargets(CLASSES, TARGETS), PARTS)
    task = ClassificationTask(dataset, 2, 4, ClassifierSettings())
    clean, noisy = (task.chance(part) for part in parts_of_test(dataset, FOLD, ("clean", "noisy")))
    assert clean["accuracy"] == noisy["accuracy"] == pytest.approx(1 / 4)  # trained on "low" alone
    assert noisy["unweighted_accuracy"] == pytest.approx(1 / 3)
    assert task.chance(Part(FOLD, "low", (0, 1), is_test=True))["accuracy"] == 1.0


def test_naming_several_parts_is_another_question_than_naming_one() -> None:
    """A run that pooled its test parts, as before schema 4, is not taken for one that evaluates them apart."""
    rule = ["corpus.label=[word]", "split.rule=published"]
    assert family_of(load_recipe("keyword", [*rule, "split.test=[clean]"])).test_settings() == ()
    assert family_of(load_recipe("keyword", [*rule, "split.test=[clean, noisy]"])).test_settings() == ("split.test",)
