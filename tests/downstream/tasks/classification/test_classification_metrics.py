"""Metrics of classification against scikit-learn and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from downstream.tasks.classification.metrics import accuracy, confusion_matrix, macro_f1, unweighted_accuracy


@pytest.mark.parametrize("seed", range(5))
def test_equal_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, predicted = generator.integers(0, 5, 200), generator.integers(0, 5, 200)
    confusion = confusion_matrix(truth, predicted, 5)
    assert (confusion == reference.confusion_matrix(truth, predicted)).all()
    assert accuracy(confusion) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert unweighted_accuracy(confusion) == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert macro_f1(confusion) == pytest.approx(reference.f1_score(truth, predicted, average="macro"))


def test_by_hand() -> None:
    """Three of class 0, two right; one of class 1, right; class 2 neither true nor predicted."""
    confusion = confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert accuracy(confusion) == 0.75
    assert unweighted_accuracy(confusion) == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1(confusion) == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_an_absent_class_does_not_count_against_the_score() -> None:
    confusion = confusion_matrix(np.array([0, 0]), np.array([0, 2]), 3)
    assert unweighted_accuracy(confusion) == 0.5
    assert macro_f1(confusion) == pytest.approx((2 / 3 + 0) / 2)  # class 2 was predicted, class 1 never seen
