"""Evaluation of verifiers, worked by hand on embeddings that are written down."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from small_datasets import small_dataset, whole_test
from torch import Tensor

from downstream.data.dataset import Part, parts_of_test
from downstream.data.splits import Fold
from downstream.recipes.sections import CropSettings
from downstream.states.preparation import read_whole
from downstream.statistics import SeedItems, score_intervals
from downstream.statistics.jackknife import jackknives
from downstream.tasks.registry import family_of, load_recipe
from downstream.tasks.verification.error_rates import equal_error_rate, min_dcf
from downstream.tasks.verification.family import SpeakerTargets, TrialEvaluation, VerificationTask
from downstream.tasks.verification.metrics import METRICS
from downstream.tasks.verification.recipe import TrialsSettings, VerifierSettings
from downstream.tasks.verification.trials import Trials
from downstream.training.loop import Fit
from downstream.training.scoring import score_heads
from downstream.training.sweep import Chosen, Config
from upstream.base import HiddenStates

VOICES = ["v", "v", "w", "w", "x", "x", "p", "q", "q", "r"]
VERIFIED = Fold("verified", (6, 7, 8, 9), (), (0, 1, 2, 3, 4, 5))
TEST = whole_test(VERIFIED)
ANGLES = [0, 40, 70, 100, 120, 155]  # degrees, of the test utterances' embeddings
COHORT, COHORT_ANGLES = (6, 7, 9), [10, 120, 200]
PAIRS = torch.tensor(list(combinations(range(6), 2)))


def all_pairs(utterances: Sequence[int]) -> Trials:
    pairs = torch.tensor(list(combinations(utterances, 2)))
    return Trials(
        pairs[:, 0], pairs[:, 1], torch.tensor([VOICES[a] == VOICES[b] for a, b in pairs.tolist()]), "all pairs"
    )


TRIALS = all_pairs(range(6))


def targets(cohort: bool, trials: dict[tuple[int, ...], Trials] | None = None) -> SpeakerTargets:
    numbers = (-1,) * 6 + (0, 1, 1, 2)
    return SpeakerTargets(
        ("p", "q", "r"), numbers, trials or {VERIFIED.test: TRIALS}, {"verified": COHORT} if cohort else {}
    )


def verifiers(trials: dict[tuple[int, ...], Trials] | None = None, **settings: object) -> VerificationTask:
    dataset = small_dataset(VOICES, [VERIFIED], targets(bool(settings), trials))
    head = VerifierSettings(projection=4)
    return VerificationTask(dataset, 2, 4, head, TrialsSettings.model_validate(settings))


def embeddings(angles: Sequence[float], length: float = 3.0) -> list[Tensor]:
    """Vectors of a length that does not matter."""
    radians = np.deg2rad(angles)
    return [length * torch.tensor([math.cos(one), math.sin(one)]) for one in radians]


def cosines(angles: Sequence[float], others: Sequence[float]) -> np.ndarray:
    return np.cos(np.deg2rad(np.subtract.outer(np.array(angles, float), np.array(others, float))))


RAW = cosines(ANGLES, ANGLES)[tuple(PAIRS.T.numpy())]


def verified(task: VerificationTask) -> TrialEvaluation:
    angles = ANGLES + (COHORT_ANGLES if len(task.predicted(TEST)) > 6 else [])
    return task.evaluate(embeddings(angles), TEST)


def test_a_verifier_is_tested_on_the_cosines_of_its_trials() -> None:
    found = verified(verifiers())
    items = found.items()
    scores, target = items.scores, np.array([truth == "target" for truth in items.truths])
    assert scores == pytest.approx(RAW, abs=1e-6)
    assert target.sum() == 3
    assert items.clusters == tuple((VOICES[a], VOICES[b]) for a, b in PAIRS.tolist())
    # Targets lie 30, 35 and 40 degrees apart; of twelve non-targets one lies 20 apart, one 30, all others 50 or more.
    assert found.value("eer") == pytest.approx(2 / 12)
    assert found.value("min_dcf_0.01") == pytest.approx(min_dcf(scores, target, 0.01)[0])
    assert found.value("min_dcf_0.05") == pytest.approx(min_dcf(scores, target, 0.05)[0])
    details = found.details()
    assert details["trials"] | {"threshold": 0.0} == {
        "trials": 15, "targets": 3, "rule": "all pairs", "threshold": 0.0,
    }  # fmt: skip
    assert details["trials"]["threshold"] == pytest.approx(equal_error_rate(scores, target)[1])
    assert found.rows() == ()


def test_the_cohort_is_predicted_behind_the_test_utterances() -> None:
    assert verifiers().predicted(TEST) == VERIFIED.test
    assert verifiers(normalisation="s_norm").predicted(TEST) == (*VERIFIED.test, *COHORT)
    developed = Part(VERIFIED, "dev", VERIFIED.test, is_test=False)
    assert verifiers(normalisation="s_norm").predicted(developed) == VERIFIED.test


@pytest.mark.parametrize(("normalisation", "top"), [("s_norm", 3), ("as_norm", 3), ("as_norm", 2)])
def test_scores_are_normalised_by_what_both_sides_score_against_the_cohort(normalisation: str, top: int) -> None:
    against = np.sort(cosines(ANGLES, COHORT_ANGLES), axis=1)[:, -top:]
    mean, deviation = against.mean(axis=1), against.std(axis=1)
    first, second = PAIRS.T.numpy()
    wanted = ((RAW - mean[first]) / deviation[first] + (RAW - mean[second]) / deviation[second]) / 2
    task = verifiers(normalisation=normalisation, top=top if normalisation == "as_norm" else 100)
    assert verified(task).items().scores == pytest.approx(wanted, rel=1e-4)


def test_development_scores_are_never_normalised() -> None:
    task = verifiers(normalisation="s_norm")
    developed = task.evaluate(embeddings(ANGLES), Part(VERIFIED, "dev", VERIFIED.test, is_test=False))
    assert developed.items().scores == pytest.approx(RAW, abs=1e-6)
    assert developed.value("eer") == verified(verifiers()).value("eer")


@pytest.mark.parametrize("metric", METRICS)
def test_an_error_rate_without_a_speaker_is_that_of_the_trials_of_others(metric: str) -> None:
    others = [n for n, (a, b) in enumerate(PAIRS.tolist()) if "w" not in (VOICES[a], VOICES[b])]
    target = np.array([VOICES[a] == VOICES[b] for a, b in PAIRS[others].tolist()])
    score = equal_error_rate(RAW[others], target)[0]
    if metric != "eer":
        score = min_dcf(RAW[others], target, float(metric.removeprefix("min_dcf_")))[0]
    found = jackknives([SeedItems(0, verified(verifiers()).items())], [metric])[metric]
    assert found.without[1] == pytest.approx(score)
    assert found.shares[:, :3].tolist() == [[9 / 15] * 3]  # 2 x 4 trials with others, and one of the speaker's own


def test_a_verifiers_interval_is_of_the_mean_over_heads() -> None:
    task = verifiers()
    heads = [verified(task), task.evaluate(embeddings([0, 80, 70, 10, 150, 20]), TEST)]
    tested = [SeedItems(seed, one.items()) for seed, one in enumerate(heads)]
    values = {metric: float(np.mean([one.value(metric) for one in heads])) for metric in METRICS}
    intervals = score_intervals(tested, values, {name: one.range for name, one in METRICS.items()})
    for metric, interval in intervals.items():
        assert 0 <= interval.low <= values[metric] <= interval.high <= 1
        assert interval.low < interval.high
        assert (
            interval.how
            == "95 %, t over 3 test speakers, or over 2 seeds where that is wider (jackknife); not in it: training data"
        )


def test_a_test_of_two_speakers_has_no_interval() -> None:
    task = verifiers({(0, 1, 2, 3): all_pairs(range(4))})
    part = Part(VERIFIED, "test", (0, 1, 2, 3), is_test=True)
    tested = [SeedItems(0, task.evaluate(embeddings(ANGLES[:4]), part).items())]
    interval = score_intervals(tested, {"eer": 0.3}, {"eer": METRICS["eer"].range})["eer"]
    assert (interval.low, interval.high) == (None, None)
    assert interval.how == "none: the metric is undefined without some of 2 test speakers"


def test_a_verifier_leaves_its_trials_and_the_tradeoff() -> None:
    files = verified(verifiers()).files()
    lines = [line.split() for line in files["trials.txt"].decode().splitlines()]
    assert [line[:2] for line in lines] == [[f"u{a}", f"u{b}"] for a, b in PAIRS.tolist()]
    assert [float(line[2]) for line in lines] == pytest.approx(RAW.tolist(), abs=1e-6)
    assert [line[3] for line in lines].count("target") == 3
    assert lines[0][4:] == [VOICES[index] for index in PAIRS.tolist()[0]]
    assert files["det.png"].startswith(b"\x89PNG")
    table = list(csv.reader(io.StringIO(files["det.csv"].decode())))
    assert len(table) > 2


def test_scores_that_say_nothing() -> None:
    chance = verifiers().chance(TEST)
    assert chance["eer"] == 0.5
    assert chance["min_dcf_0.01"] == 1.0
    assert set(chance) == set(METRICS)


def test_every_output_of_a_fold_is_a_speaker_that_it_trains_on() -> None:
    assert verifiers().outputs(VERIFIED) == ["p", "q", "r"]


# ---------------------------------------------------------------- test parts

PARTS = ["close", "close", "close", "far", "far", "far", "train", "train", "train", "train"]
APART = {(0, 1, 2): all_pairs((0, 1, 2)), (3, 4, 5): all_pairs((3, 4, 5))}


class AskedFor:
    """States of each utterance, and which utterances they were asked for."""

    audio_seconds = computed_seconds = 0.0

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def states(self, group: Sequence[int]) -> HiddenStates:
        generators = [torch.Generator().manual_seed(index) for index in group]
        return HiddenStates.from_utterances(
            [torch.randn(2, 20 + index, 4, generator=own) for index, own in zip(group, generators, strict=True)]
        )

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[HiddenStates]:
        assert places is None, "a test reads whole utterances"
        for group in groups:
            self.groups.append(group.tolist())
            yield self.states(group.tolist())


@pytest.mark.parametrize("normalisation", ["none", "s_norm"])
def test_test_parts_are_scored_apart_the_first_named_one_first(normalisation: str) -> None:
    """And what both need, the cohort among it, is predicted once."""
    given = targets(normalisation != "none", APART)
    dataset = small_dataset(VOICES, [VERIFIED], given, PARTS)
    task = VerificationTask(dataset, 2, 4, VerifierSettings(projection=4), TrialsSettings(normalisation=normalisation))
    head = task.build(0, None).eval()
    fit = Fit(0, Config(1e-3, 0), 20, 0.75, dict(head.state_dict()), [])
    source = AskedFor()
    (scored,) = score_heads([Chosen(None, fit)], dataset, task, source, ("far", "close"))
    assert list(scored.evaluations) == ["far", "close"]
    cohort = COHORT if normalisation == "s_norm" else ()
    assert sorted(i for group in source.groups for i in group) == sorted((*VERIFIED.test, *cohort))
    for part in parts_of_test(dataset, VERIFIED, ("far", "close")):
        with torch.no_grad():
            alone = [head(source.states([index]))[0] for index in task.predicted(part)]
        expected, found = task.evaluate(alone, part), scored.evaluations[part.name]
        assert isinstance(found, TrialEvaluation)
        # The small deviation against an untrained head's cohort magnifies the rounding of batches.
        close = 1e-5 if normalisation == "none" else 1e-2
        assert found.items().scores == pytest.approx(expected.items().scores, abs=close)
        assert found.items().clusters == expected.items().clusters
        assert found.details()["trials"]["trials"] == 3
        assert found.details()["trials"]["targets"] == 1
        assert set(found.files()) == {"trials.txt", "det.csv", "det.png"}
    far = scored.evaluations["far"].files()["trials.txt"].decode().splitlines()
    assert [line.split()[:2] for line in far] == [["u3", "u4"], ["u3", "u5"], ["u4", "u5"]]


def test_the_cohort_is_encoded_whole_for_the_test() -> None:
    """Though its utterances are trained on in windows that are encoded apart."""
    window = CropSettings(seconds=1.0, of="audio")  # all utterances are longer
    with_cohort, without = (small_dataset(VOICES, [VERIFIED], targets(cohort)) for cohort in (True, False))
    assert with_cohort.targets.further_test_utterances(VERIFIED) == COHORT
    assert without.targets.further_test_utterances(VERIFIED) == ()
    assert with_cohort.targets.further_test_utterances(Fold("another", (), (), ())) == ()
    assert read_whole(with_cohort, window) == sorted((*VERIFIED.test, *COHORT))
    assert read_whole(without, window) == list(VERIFIED.test)
    assert read_whole(without, None) == list(range(10))


def test_what_changes_the_test_alone_is_told_from_what_is_learned() -> None:
    normalisation = ("trials.normalisation", "trials.cohort", "trials.top")
    assert family_of(load_recipe("sv")).test_settings() == normalisation
    several = load_recipe("sv", ["split.test=[close, far]"])
    assert family_of(several).test_settings() == (*normalisation, "split.test")
