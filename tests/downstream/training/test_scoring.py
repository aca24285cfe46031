"""Chosen heads to evaluations: the test set is looked at once, and every test part is evaluated apart."""

from __future__ import annotations

import pytest
import torch
from chosen_heads import LARGE, MEANS, PARTS, SMALL, AskedFor, chosen, fit, head, many, task_of

from downstream.data.splits import Fold
from downstream.training.scoring import PREDICTED_AT_ONCE, score_heads
from downstream.training.sweep import Chosen


def test_every_chosen_head_is_tested_on_its_fold_and_heads_of_a_fold_share_the_states() -> None:
    dataset, source, given = many(), AskedFor(), chosen()
    task = task_of(dataset)
    found = score_heads(given, dataset, task, source)
    assert sorted(id(one.fit) for one in found) == sorted(id(one.fit) for one in given)
    assert [i for group in source.groups for i in group] == [*LARGE.test, *SMALL.test]
    assert max(map(len, source.groups)) <= PREDICTED_AT_ONCE
    for one in found:
        test = torch.tensor(dataset.split.folds[one.fit.fold].test)
        answers = head(one.fit)(MEANS[:, test]).argmax(dim=1)
        accuracy = float((answers == task.targets[test]).double().mean())
        assert list(one.evaluations) == ["test"]
        assert one.evaluations["test"].value("accuracy") == pytest.approx(accuracy)
        assert not one.head.training
    assert len({one.evaluations["test"].value("accuracy") for one in found if one.fit.fold == 0}) > 1


def test_a_head_keeps_the_layer_setting_that_it_was_chosen_for() -> None:
    dataset = many()
    given = [*chosen(), Chosen("best", chosen()[4].fit), Chosen("best", chosen()[5].fit)]
    found = score_heads(given, dataset, task_of(dataset), AskedFor())
    assert sorted((str(one.setting), one.fit.fold) for one in found) == sorted(
        (str(one.setting), one.fit.fold) for one in given
    )
    best = next(one for one in found if one.setting == "best" and one.fit.fold == 0)
    alone = next(one for one in found if one.setting == 1 and one.fit.fold == 0 and one.fit.config.seed == 0)
    assert best.evaluations["test"].rows() == alone.evaluations["test"].rows()


def test_every_test_part_is_evaluated_apart_the_first_named_one_first() -> None:
    fold = Fold("published", (0, 1), (), tuple(range(2, 80)))
    dataset, source = many([fold]), AskedFor()
    task = task_of(dataset)
    (one,) = score_heads([Chosen(None, fit(0, 0, None))], dataset, task, source, ("noisy", "clean"))
    assert list(one.evaluations) == ["noisy", "clean"]
    assert sorted(i for group in source.groups for i in group) == list(fold.test)  # each is predicted once
    for part, evaluation in one.evaluations.items():
        own = torch.tensor([i for i in fold.test if PARTS[i] == part])
        answers = head(one.fit)(MEANS[:, own]).argmax(dim=1)
        assert evaluation.value("accuracy") == pytest.approx(float((answers == task.targets[own]).double().mean()))
        assert [row["id"] for row in evaluation.rows()] == [f"u{i}" for i in own.tolist()]
    (pooled,) = score_heads([Chosen(None, fit(0, 0, None))], dataset, task, AskedFor())
    shares = {part: len(one.evaluations[part].rows()) / len(fold.test) for part in one.evaluations}
    assert pooled.evaluations["test"].value("accuracy") == pytest.approx(
        sum(share * one.evaluations[part].value("accuracy") for part, share in shares.items())
    )
