"""Intervals over speakers from counts: their width, their coverage, and who has none; ids as fields of files."""

from __future__ import annotations

from urllib.parse import unquote

import numpy as np
import pytest

from downstream.statistics import NO_SPEECH, NOBODY
from downstream.tasks.classification.metrics import METRICS
from downstream.tasks.evaluation import Interval, count_intervals, drawn_of, one_field, summed_by_speaker


def accuracy_interval(confusions: np.ndarray, value: float, seed: int, draws: int = 2000) -> tuple[float, float] | None:
    return count_intervals(confusions, METRICS, {"accuracy": value}, seed, draws)["accuracy"]


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
    low, high = accuracy_interval(confusions_of(clustered), 0.5, seed=0)
    # Binomial with n = 10 and p = 1/2: 2.5 % and 97.5 % quantiles are 2 and 8 of 10.
    assert (low, high) == pytest.approx((0.2, 0.8), abs=0.05)
    assert accuracy_interval(confusions_of(mixed), 0.5, seed=0) == (0.5, 0.5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """40 speakers whose own accuracies vary about 0.6: 95 % of the intervals should hold 0.6; 200 are drawn."""
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        own = generator.beta(6, 4, 40)
        correct = (generator.random((40, 20)) < own[:, None]).astype(np.int64)
        low, high = accuracy_interval(confusions_of(correct), float(correct.mean()), seed, draws=300)
        covered += low <= 0.6 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_one_speaker_gives_no_interval() -> None:
    assert accuracy_interval(confusions_of(np.tile([0, 1], (1, 25))), 0.5, seed=0) is None


def test_the_interval_is_of_the_metric_it_is_asked_for_and_follows_its_seed() -> None:
    generator = np.random.default_rng(1)
    confusions = generator.integers(0, 9, (12, 3, 3))
    for name, metric in METRICS.items():
        assert metric.of_counts is not None
        value = metric.of_counts(confusions.sum(axis=0))

        def interval(seed: int, asked: dict[str, float]) -> tuple[float, float] | None:
            return count_intervals(confusions, METRICS, asked, seed)[next(iter(asked))]

        low, high = interval(1, {name: value})
        assert low < value < high
        assert interval(1, {name: value}) == (low, high)
        assert interval(2, {name: value}) != (low, high)


def test_metrics_that_are_asked_for_together_share_their_draws() -> None:
    confusions = np.random.default_rng(2).integers(0, 9, (12, 3, 3))
    together = count_intervals(confusions, METRICS, dict.fromkeys(METRICS, 0.4), seed=3)
    assert list(together) == list(METRICS)
    for name in METRICS:
        assert together[name] == count_intervals(confusions, METRICS, {name: 0.4}, seed=3)[name]
    assert len(set(together.values())) == len(METRICS)


def test_counts_of_one_speaker_are_added_up_over_evaluations() -> None:
    first = {"a": np.array([1, 2]), "b": np.array([0, 1])}
    second = {"c": np.array([5, 5]), "a": np.array([1, 1])}
    assert summed_by_speaker([first, second]).tolist() == [[2, 3], [0, 1], [5, 5]]
    assert first["a"].tolist() == [1, 2]


def test_an_interval_says_how_it_was_found() -> None:
    assert Interval.over_speakers((0.1, 0.2)) == Interval(0.1, 0.2, "95 %, bootstrap over test speakers")
    assert Interval.over_speakers(None) == Interval(None, None, "none: too few test speakers")
    utterances = drawn_of([f"{NOBODY}a.wav", f"{NOBODY}b.wav"])
    assert Interval.over_speakers((0.1, 0.2), utterances).how == "95 %, bootstrap over test utterances"
    assert Interval.over_speakers(None, utterances).how == "none: too few test utterances"
    assert drawn_of(["ann", f"{NO_SPEECH}_background_noise_/0@1"]) == drawn_of([]) == "speakers"
    assert drawn_of([f"{NOBODY}a.wav", f"{NO_SPEECH}_background_noise_/0@1"]) == "utterances"
    assert drawn_of(["ann", f"{NOBODY}a.wav"]) == "speakers and utterances of nobody known"


def test_ids_of_one_field_differ_as_ids_do_and_can_be_read_back() -> None:
    names = ["a b", "a_b", "a%20b", "a  b", "a\tb", "a\u00a0b", "100%", "5% off", "%zz", "é/1.wav", "s1/low1.wav"]
    written = [one_field(name) for name in names]
    assert len(set(written)) == len(names)
    assert all(len(one.split()) == 1 for one in written)
    assert [unquote(one) for one in written] == names
    assert (written[0], written[2], written[6], written[-1]) == ("a%20b", "a%2520b", "100%", "s1/low1.wav")
