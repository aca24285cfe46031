"""Metrics against scikit-learn and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from downstream.metrics import (
    OF_CONFUSIONS,
    accuracy,
    confusion_matrix,
    macro_f1,
    speaker_bootstrap,
    unweighted_accuracy,
)


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


def confusions_of(correct: np.ndarray) -> np.ndarray:
    """One class of truth, right or taken for another: (S, U) ones and zeros -> (S, 2, 2)."""
    right = correct.sum(axis=1)
    confusions = np.zeros((len(correct), 2, 2), dtype=np.int64)
    confusions[:, 0, 0], confusions[:, 0, 1] = right, correct.shape[1] - right
    return confusions


def test_the_interval_grows_when_utterances_hang_together_by_speaker() -> None:
    """Ten speakers of whom each is all right or all wrong say no more than ten coins."""
    clustered = np.repeat(np.arange(10) % 2, 50).reshape(10, 50)
    mixed = np.tile([0, 1], (10, 25))
    low, high = speaker_bootstrap(confusions_of(clustered), accuracy, 0.5, seed=0)
    # Binomial with n = 10 and p = 1/2: 2.5 % and 97.5 % quantiles are 2 and 8 of 10.
    assert (low, high) == pytest.approx((0.2, 0.8), abs=0.05)
    assert speaker_bootstrap(confusions_of(mixed), accuracy, 0.5, seed=0) == (0.5, 0.5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """40 speakers whose own accuracies vary about 0.6: 95 % of the intervals should hold 0.6; 200 are drawn."""
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        own = generator.beta(6, 4, 40)
        correct = (generator.random((40, 20)) < own[:, None]).astype(np.int64)
        low, high = speaker_bootstrap(confusions_of(correct), accuracy, float(correct.mean()), seed, draws=300)
        covered += low <= 0.6 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_one_speaker_gives_no_interval() -> None:
    assert speaker_bootstrap(confusions_of(np.tile([0, 1], (1, 25))), accuracy, 0.5, seed=0) is None


def test_the_interval_is_of_the_metric_it_is_asked_for_and_follows_its_seed() -> None:
    generator = np.random.default_rng(1)
    confusions = generator.integers(0, 9, (12, 3, 3))
    for metric in OF_CONFUSIONS.values():
        value = metric(confusions.sum(axis=0))
        low, high = speaker_bootstrap(confusions, metric, value, seed=1)
        assert low < value < high
        assert speaker_bootstrap(confusions, metric, value, seed=1) == (low, high)
        assert speaker_bootstrap(confusions, metric, value, seed=2) != (low, high)
