"""What tests say of heads, worked by hand on predictions that are written down."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from downstream.audio import AudioFile, Segment
from downstream.corpora.splits import Fold, Split
from downstream.corpora.table import Corpus, Utterance
from downstream.material import Material
from downstream.scoring import heads as scoring
from downstream.scoring.base import Evaluation
from downstream.scoring.classification import ClassificationScorer
from downstream.scoring.recognition import RecognitionScorer
from downstream.scoring.verification import VerificationScorer
from downstream.settings import DecodingSettings, HeadSettings, TrialsSettings
from downstream.speakers.metrics import equal_error_rate, min_dcf, speaker_bootstrap
from downstream.speakers.trials import Trials
from downstream.sweep import Point
from downstream.tasks.classification import Classification, UtteranceClassifier
from downstream.tasks.recognition import Recognition
from downstream.tasks.verification import Verification
from downstream.training.loop import Attempt
from downstream.transcripts.text import Vocabulary, characters_of
from upstream.encode import Item
from upstream.errors import MendableError


def material(
    speakers: Sequence[str],
    folds: Sequence[Fold],
    parts: Sequence[str | None] | None = None,
    cohorts: dict[str, tuple[int, ...]] | None = None,
    **fields: tuple[object, ...],
) -> Material:
    """Utterances u0, u1 … of these speakers; nobody speaks in those of the speaker ""."""
    utterances = tuple(
        Utterance(f"u{i}", Segment(AudioFile(Path("unread"))), speaker, part=part, speech=bool(speaker))
        for i, (speaker, part) in enumerate(zip(speakers, parts or [None] * len(speakers), strict=True))
    )
    items = tuple(Item(u.id, u.audio, u.id, 1.5) for u in utterances)
    whole = Corpus("small", "Small", "none", utterances, "nowhere")
    given: dict[str, tuple[object, ...]] = {"classes": (), "targets": ()} | fields
    return Material(
        whole, "label", utterances, items=items, split=Split(tuple(folds), "rule"), cohorts=cohorts or {}, **given
    )  # type: ignore[arg-type]


def bootstrapped(
    by_speaker: Sequence[Sequence[int]], rate: Callable[[list[int]], float], value: float, seed: int, highest: float
) -> tuple[float, float]:
    """The interval from single utterances: the score of every draw of speakers, all of whose utterances are pooled."""
    whole = rate([i for own in by_speaker for i in own])
    drawn = np.random.default_rng(seed).integers(len(by_speaker), size=(2000, len(by_speaker)))
    scores = [rate([i for speaker in speakers for i in by_speaker[speaker]]) for speakers in drawn]
    low, high = np.quantile(np.array(scores) - whole, [0.025, 0.975])
    return max(0.0, value + low), min(highest, value + high)


# ---------------------------------------------------------------- classification

CLASSES = ("low", "middle", "high")
TARGETS = (0, 0, 1, 1, 2, 2, 0, 1, 2, 2)
SPEAKERS = ["a", "b", "a", "a", "b", "c", "c", "", "", "d"]
ONE, TWO = Fold("one", (6, 8, 9), (), (0, 1, 2, 3, 4, 7)), Fold("two", (0, 1, 2), (), (5, 6, 8, 9))
CORPUS = material(SPEAKERS, [ONE, TWO], classes=CLASSES, targets=TARGETS)
TASK = Classification(2, 4, 3, 3, torch.tensor(TARGETS))
CLASSIFIERS = ClassificationScorer(TASK, CORPUS, "accuracy")
ANSWERS = {"one": [0, 1, 1, 1, 0, 1], "two": [2, 2, 2, 0]}


def posteriors(answers: Sequence[int]) -> list[Tensor]:
    return [torch.tensor([0.1, 0.1, 0.1]).index_fill(0, torch.tensor(answer), 0.8) for answer in answers]


def classified(fold: Fold, answers: Sequence[int] | None = None) -> Evaluation:
    return CLASSIFIERS.evaluate(posteriors(answers or ANSWERS[fold.name]), fold)


def test_a_classifiers_metrics_are_scikit_learns() -> None:
    truth, answers = [TARGETS[i] for i in ONE.test], ANSWERS["one"]
    found = classified(ONE)
    assert found.metrics["accuracy"] == pytest.approx(4 / 6)
    assert found.metrics["unweighted_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(truth, answers)
    )
    assert found.metrics["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(truth, answers, average="macro"))
    assert found.details == {"confusion": [[1, 1, 0], [0, 3, 0], [1, 0, 0]]}
    assert (CLASSIFIERS.outputs(ONE), CLASSIFIERS.tested(ONE), found.files) == (CLASSES, ONE.test, {})


def test_predictions_may_be_one_tensor_or_one_each() -> None:
    single = posteriors(ANSWERS["one"])
    assert CLASSIFIERS.evaluate(torch.stack(single), ONE).rows == CLASSIFIERS.evaluate(single, ONE).rows


def test_a_classifiers_confusions_are_divided_by_speaker() -> None:
    """A recording without a speaker stands for itself."""
    pieces = classified(TWO).pieces
    assert {who: confusion.sum() for who, confusion in pieces.items()} == {"c": 2, "u8": 1, "d": 1}
    assert pieces["c"].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert sum(pieces.values()).tolist() == classified(TWO).details["confusion"]


def test_every_test_utterance_has_a_row() -> None:
    rows = classified(TWO).rows
    assert [row["id"] for row in rows] == ["u5", "u6", "u8", "u9"]
    assert rows[1] == {"id": "u6", "speaker": "c", "label": "low", "predicted": "high", "posteriors": [0.1, 0.1, 0.8]}


@pytest.mark.parametrize("metric", ["accuracy", "unweighted_accuracy"])
def test_a_classifiers_interval_is_that_of_single_utterances(metric: str) -> None:
    """Of two seeds on two folds; a speaker's utterances of both seeds stay together."""
    heard = [(ONE, [0, 1, 1, 1, 0, 1]), (TWO, [2, 2, 2, 0]), (ONE, [0, 0, 1, 2, 2, 1]), (TWO, [2, 0, 2, 2])]
    truth = [TARGETS[i] for fold, _ in heard for i in fold.test]
    answers = [answer for _, own in heard for answer in own]
    members: dict[str, list[int]] = {}
    for number, index in enumerate(i for fold, _ in heard for i in fold.test):
        members.setdefault(SPEAKERS[index] or f"u{index}", []).append(number)

    def rate(numbers: list[int]) -> float:
        pairs = [(truth[n], answers[n]) for n in numbers]
        if metric == "accuracy":
            return sum(one == other for one, other in pairs) / len(pairs)
        recalls = [np.mean([other == own for one, other in pairs if one == own]) for own in {one for one, _ in pairs}]
        return float(np.mean(recalls))

    interval = CLASSIFIERS.interval([classified(*one) for one in heard], metric, 0.6, seed=4)
    assert (interval.low, interval.high) == pytest.approx(bootstrapped(list(members.values()), rate, 0.6, 4, 1.0))
    assert interval.how == "95 %, bootstrap over test speakers"


def test_one_speaker_has_no_interval() -> None:
    alone = Fold("alone", (0,), (), (2, 3))
    interval = CLASSIFIERS.interval([CLASSIFIERS.evaluate(posteriors([1, 0]), alone)], "accuracy", 0.5, seed=0)
    assert (interval.low, interval.high, interval.how) == (None, None, "none: too few test speakers")


def test_a_classifier_that_knows_nothing_answers_the_commonest_training_class() -> None:
    assert CLASSIFIERS.chance(ONE) == pytest.approx(1 / 6)  # trained on low, high, high; one "high" is tested
    assert CLASSIFIERS.chance(TWO) == pytest.approx(1 / 4)


# ---------------------------------------------------------------- recognition

TEXTS = ("A BAD CAB", "DAB", "A CAB", "BAD DAD", "A B C D", "CAB CAB", "B B")
READERS = ["r", "r", "s", "s", "t", "t", "r"]
PARTS = ["clean", "clean", "clean", "other", "other", "other", "train"]
READ = Fold("read", (6,), (), (0, 1, 2, 3, 4, 5))
HEARD = ("A DAD CAB", "DAB", "A B CAB", "DAD", "A B C D", "")
VOCABULARY = characters_of(TEXTS)
WRITTEN = material(READERS, [READ], PARTS, texts=TEXTS)


def recognisers(*named: str, written: Material = WRITTEN, select: str = "wer", **decoding: object) -> RecognitionScorer:
    task = Recognition(2, 4, HeadSettings(), VOCABULARY, TEXTS, select)
    return RecognitionScorer(task, written, DecodingSettings.model_validate(decoding), named, select)


def spelled(text: str, vocabulary: Vocabulary = VOCABULARY) -> Tensor:
    """Log posteriors (T, V) that spell a text: each letter twice, a blank behind it."""
    tokens = [t for token in vocabulary.encode(text).tolist() for t in (token, token, vocabulary.blank)]
    certain = torch.nn.functional.one_hot(torch.tensor([vocabulary.blank, *tokens]), len(vocabulary))
    return (certain * 0.9 + 0.1 / len(vocabulary)).log()


def recognised(scorer: RecognitionScorer, fold: Fold = READ, heard: Sequence[str] = HEARD) -> Evaluation:
    return scorer.evaluate([spelled(text) for text in heard], fold)


def test_word_and_character_errors_of_the_first_part_that_is_named() -> None:
    found = recognised(recognisers("clean", "other"))
    assert found.metrics == pytest.approx(
        {
            "wer": 2 / 6,  # DAD for BAD, and a B too many
            "cer": (1 + 2) / (9 + 3 + 5),
            "wer_other": (1 + 0 + 2) / (2 + 4 + 2),
            "cer_other": (4 + 0 + 7) / (7 + 7 + 7),
        }
    )
    assert found.details == {
        "errors": {"substitutions": 1, "deletions": 0, "insertions": 1, "reference_length": 6},
    }


def test_naming_the_other_part_first_makes_it_the_score() -> None:
    one, other = recognised(recognisers("clean", "other")), recognised(recognisers("other", "clean"))
    assert other.metrics["wer"] == one.metrics["wer_other"]
    assert other.metrics["cer_clean"] == one.metrics["cer"]
    assert other.details["errors"]["reference_length"] == 8


def test_a_test_set_of_one_part_or_of_none_has_no_further_metrics() -> None:
    clean = Fold("clean", (6,), (), (0, 1, 2))
    assert set(recognised(recognisers(), clean, HEARD[:3]).metrics) == {"wer", "cer"}
    undivided = recognised(recognisers(written=material(READERS, [READ], texts=TEXTS)))
    assert undivided.metrics == pytest.approx({"wer": 5 / 14, "cer": 14 / 38})


def test_a_recognisers_pieces_are_errors_and_length_by_speaker() -> None:
    pieces = recognised(recognisers("other")).pieces
    assert {who: own.tolist() for who, own in pieces["wer"].items()} == {"s": [1, 2], "t": [2, 6]}
    assert {who: own.tolist() for who, own in pieces["cer"].items()} == {"s": [4, 7], "t": [7, 14]}


def test_a_recognisers_interval_is_that_of_single_utterances() -> None:
    """Of two seeds; rates above one are rates."""
    scorer = recognisers(written=material(READERS, [READ], texts=TEXTS))
    worse = ("A A A A A", "B B B B", "A CAB", "BAD", "A B", "CAB CAB CAB")
    errors, words = [1, 0, 1, 1, 0, 2, 4, 4, 0, 1, 2, 1], [3, 1, 2, 2, 4, 2] * 2
    by_reader = [[i for i in range(12) if READERS[i % 6] == reader] for reader in "rst"]
    interval = scorer.interval([recognised(scorer), recognised(scorer, heard=worse)], "wer", 1.1, seed=2)

    def rate(utterances: list[int]) -> float:
        return sum(errors[i] for i in utterances) / sum(words[i] for i in utterances)

    assert (interval.low, interval.high) == pytest.approx(bootstrapped(by_reader, rate, 1.1, 2, math.inf))
    assert interval.high > 1.1


def test_a_recogniser_leaves_rows_transcripts_and_a_report() -> None:
    found = recognised(recognisers("clean", "other"))
    assert found.rows[3] == {
        "id": "u3", "speaker": "s", "part": "other", "reference": "BAD DAD", "hypothesis": "DAD",
    }  # fmt: skip
    assert [row["hypothesis"] for row in found.rows] == list(HEARD)
    assert found.files["ref"].decode().splitlines() == [f"u{i} {text}" for i, text in enumerate(TEXTS[:6])]
    assert found.files["hyp"].decode().splitlines()[3:] == ["u3 DAD", "u4 A B C D", "u5"]
    assert "BAD -> DAD" in found.files["errors.txt"].decode()


def test_a_recogniser_that_hears_nothing_gives_the_best_of_constant_answers() -> None:
    """Nothing, the commonest transcript of training, or its commonest word, for the part that gives the score."""
    spoken = Fold("spoken", (2,), (), READ.test)  # trains on A CAB: one error, two and none in six words
    assert recognisers("clean", "other").chance(spoken) == pytest.approx(3 / 6)
    assert recognisers("clean", "other").chance(READ) == pytest.approx(1.0)  # B B has seven errors, B has six
    assert recognisers("clean", "other", select="cer").chance(READ) == pytest.approx((6 + 2 + 3) / 17)  # B B


def test_beam_search_without_a_language_model_hears_what_greedy_decoding_hears() -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    assert recognised(recognisers(method="beam")).rows == recognised(recognisers()).rows


def test_what_beam_search_lacks_is_said_before_anything_is_learned() -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    with pytest.raises(MendableError, match=r"language model absent.arpa is not there"):
        recognisers(method="beam", language_model="absent.arpa")


# ---------------------------------------------------------------- verification

VOICES = ["v", "v", "w", "w", "x", "x", "p", "q", "q", "r"]
VERIFIED = Fold("verified", (6, 7, 8, 9), (), (0, 1, 2, 3, 4, 5))
ANGLES = [0, 40, 70, 100, 120, 155]  # degrees, of the test utterances' embeddings
COHORT, COHORT_ANGLES = (6, 7, 9), [10, 120, 200]
PAIRS = torch.tensor(list(combinations(range(6), 2)))
TRIALS = Trials(
    PAIRS[:, 0], PAIRS[:, 1], torch.tensor([VOICES[a] == VOICES[b] for a, b in PAIRS.tolist()]), "all pairs"
)


def verifiers(select: str = "eer", **settings: object) -> VerificationScorer:
    trials = {VERIFIED.test: TRIALS}
    task = Verification(2, 4, HeadSettings(), 3, torch.tensor([-1] * 6 + [0, 1, 1, 2]), trials, select)
    cohorts = {"verified": COHORT} if settings else {}
    heard = material(VOICES, [VERIFIED], classes=("p", "q", "r"), targets=tuple(range(10)), cohorts=cohorts)
    return VerificationScorer(task, heard, TrialsSettings.model_validate(settings), select)


def embeddings(angles: Sequence[float], length: float = 3.0) -> list[Tensor]:
    """Vectors of a length that does not matter."""
    radians = np.deg2rad(angles)
    return [length * torch.tensor([math.cos(one), math.sin(one)]) for one in radians]


def cosines(angles: Sequence[float], others: Sequence[float]) -> np.ndarray:
    return np.cos(np.deg2rad(np.subtract.outer(np.array(angles, float), np.array(others, float))))


RAW = cosines(ANGLES, ANGLES)[tuple(PAIRS.T.numpy())]


def verified(scorer: VerificationScorer) -> Evaluation:
    angles = ANGLES + (COHORT_ANGLES if len(scorer.tested(VERIFIED)) > 6 else [])
    return scorer.evaluate(embeddings(angles), VERIFIED)


def test_a_verifier_is_tested_on_the_cosines_of_its_trials() -> None:
    found = verified(verifiers())
    scores, target, first, second = found.pieces
    assert scores == pytest.approx(RAW, abs=1e-6)
    assert target.sum() == 3
    assert (list(first), list(second)) == ([VOICES[a] for a in PAIRS[:, 0]], [VOICES[b] for b in PAIRS[:, 1]])
    # Targets lie 30, 35 and 40 degrees apart; of twelve non-targets one lies 20 apart, one 30, all others 50 or more.
    assert found.metrics["eer"] == pytest.approx(2 / 12)
    assert found.metrics["min_dcf_0.01"] == pytest.approx(min_dcf(scores, target, 0.01)[0])
    assert found.metrics["min_dcf_0.05"] == pytest.approx(min_dcf(scores, target, 0.05)[0])
    assert found.details["trials"] | {"threshold": 0.0} == {
        "trials": 15, "targets": 3, "rule": "all pairs", "threshold": 0.0,
    }  # fmt: skip
    assert found.details["trials"]["threshold"] == pytest.approx(equal_error_rate(scores, target)[1])


def test_the_cohort_is_heard_behind_the_test_utterances() -> None:
    assert verifiers().tested(VERIFIED) == VERIFIED.test
    assert verifiers(normalisation="s_norm").tested(VERIFIED) == (*VERIFIED.test, *COHORT)


@pytest.mark.parametrize(("normalisation", "top"), [("s_norm", 3), ("as_norm", 3), ("as_norm", 2)])
def test_scores_are_normalised_by_what_both_sides_score_against_the_cohort(normalisation: str, top: int) -> None:
    against = np.sort(cosines(ANGLES, COHORT_ANGLES), axis=1)[:, -top:]
    mean, deviation = against.mean(axis=1), against.std(axis=1)
    first, second = PAIRS.T.numpy()
    wanted = ((RAW - mean[first]) / deviation[first] + (RAW - mean[second]) / deviation[second]) / 2
    scorer = verifiers(normalisation=normalisation, top=top if normalisation == "as_norm" else 100)
    assert verified(scorer).pieces[0] == pytest.approx(wanted, rel=1e-4)


def test_a_verifiers_interval_is_over_the_speakers_of_all_heads() -> None:
    scorer = verifiers()
    one = verified(scorer)
    other = scorer.evaluate(embeddings([0, 80, 70, 10, 150, 20]), VERIFIED)
    scores, target, first, second = (np.concatenate(pair) for pair in zip(one.pieces, other.pieces, strict=True))
    interval = scorer.interval([one, other], "eer", 0.3, seed=7)
    assert (interval.low, interval.high) == speaker_bootstrap(scores, target, first, second, 0.3, 7)
    assert interval.low < interval.high
    none = scorer.interval([one], "min_dcf_0.01", 0.3, seed=7)
    assert (none.low, none.high) == (None, None)
    assert "not for min_dcf_0.01" in none.how


def test_a_verifier_leaves_its_trials_and_the_tradeoff() -> None:
    files = verified(verifiers()).files
    lines = [line.split() for line in files["trials.txt"].decode().splitlines()]
    assert [line[:2] for line in lines] == [[f"u{a}", f"u{b}"] for a, b in PAIRS.tolist()]
    assert [float(line[2]) for line in lines] == pytest.approx(RAW.tolist(), abs=1e-6)
    assert [line[3] for line in lines].count("target") == 3
    assert files["det.png"].startswith(b"\x89PNG")
    table = list(csv.reader(io.StringIO(files["det.csv"].decode())))
    assert len(table) > 2


def test_scores_that_say_nothing() -> None:
    assert verifiers().chance(VERIFIED) == 0.5
    assert verifiers("min_dcf_0.01").chance(VERIFIED) == 1.0


# ---------------------------------------------------------------- chosen heads to records

LARGE = Fold("large", (0, 1), (), tuple(range(2, 80)))  # more than are heard at a time
SMALL = Fold("small", (2, 3), (), (0, 1))
MANY = material(
    [f"s{i % 7}" for i in range(80)], [LARGE, SMALL], classes=CLASSES, targets=tuple(i % 3 for i in range(80))
)
MANY_TASK = Classification(2, 4, 3, 3, torch.tensor(MANY.targets))
MANY_SCORER = ClassificationScorer(MANY_TASK, MANY, "accuracy")
MEANS = torch.randn(2, 80, 4, generator=torch.Generator().manual_seed(0))


class Heard:
    """Means in memory, and which utterances were asked for."""

    audio_seconds = computed_seconds = 0.0

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    def batches(self, groups: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        assert places is None, "a test hears whole utterances"
        for group in groups:
            self.groups.append(group.tolist())
            yield MEANS[:, group]


def head(attempt: Attempt) -> UtteranceClassifier:
    built = MANY_TASK.build(attempt.point.seed, attempt.point.layer)
    built.load_state_dict(attempt.weights)
    return built


def attempt(fold: int, seed: int, layer: int | None, lr: float = 1e-3) -> Attempt:
    """A head whose weights are no longer those it began with."""
    weights = {
        name: tensor + 1.0 / (2 + fold + seed) * torch.arange(tensor.numel()).view_as(tensor).cos()
        for name, tensor in MANY_TASK.build(seed, layer).state_dict().items()
    }
    return Attempt(fold, Point(lr, seed, layer), 20, 0.75, weights, [(10, 1.0, 0.25), (20, 0.5, 0.75)])


CHOSEN = [attempt(fold, seed, layer) for layer in (None, 1) for seed in (0, 3) for fold in (0, 1)]


def scored() -> list[scoring.ScoredHead]:
    return scoring.score_heads(CHOSEN, MANY, MANY_TASK, MANY_SCORER, Heard())


def test_every_chosen_head_hears_its_folds_test_and_heads_of_a_fold_share_the_states() -> None:
    source = Heard()
    found = scoring.score_heads(CHOSEN, MANY, MANY_TASK, MANY_SCORER, source)
    assert sorted(id(one.attempt) for one in found) == sorted(map(id, CHOSEN))
    assert [i for group in source.groups for i in group] == [*LARGE.test, *SMALL.test]
    assert max(map(len, source.groups)) <= scoring.TESTED_AT_ONCE
    for one in found:
        test = torch.tensor(MANY.split.folds[one.attempt.fold].test)
        answers = head(one.attempt)(MEANS[:, test]).argmax(dim=1)
        accuracy = float((answers == MANY_TASK.targets[test]).double().mean())
        assert one.evaluation.metrics["accuracy"] == pytest.approx(accuracy)
        assert not one.head.training
    assert len({one.evaluation.metrics["accuracy"] for one in found if one.attempt.fold == 0}) > 1


def test_rows_say_whose_they_are() -> None:
    found = scored()
    rows = scoring.prediction_rows(found[0], MANY)
    assert [row["id"] for row in rows] == [f"u{i}" for i in MANY.split.folds[found[0].attempt.fold].test]
    assert list(rows[0])[:4] == ["id", "fold", "seed", "layer"]
    last = next(one for one in found if (one.attempt.fold, one.attempt.point.seed, one.layer) == (1, 3, 1))
    assert {(row["fold"], row["seed"], row["layer"]) for row in scoring.prediction_rows(last, MANY)} == {
        ("small", 3, 1)
    }


def test_records_of_heads_and_folds() -> None:
    records = [scoring.head_record(one, MANY, "accuracy") for one in scored()]
    for one, record in zip(scored(), records, strict=True):
        assert (record.fold, record.seed, record.layer) == (
            MANY.split.folds[one.attempt.fold].name, one.attempt.point.seed, one.layer,
        )  # fmt: skip
        assert (record.step, record.lr, record.development) == (20, 1e-3, 0.75)
        assert record.confusion == one.evaluation.details["confusion"]
        assert sum(record.layer_weights) == pytest.approx(1.0)
    assert scoring.head_record(scored()[0], MANY, "wer").development == -0.75  # error rates are learned as negatives
    large, small = scoring.fold_records(records, MANY, MANY_SCORER)
    assert (large.name, small.name, large.test.utterances, small.test.utterances) == ("large", "small", 78, 2)
    own = [r.metrics["macro_f1"] for r in records if r.fold == "large" and r.layer == records[0].layer]
    assert len(own) == 2
    assert large.metrics["macro_f1"] == pytest.approx(sum(own) / 2)
    assert small.chance == MANY_SCORER.chance(SMALL)


def test_scores_of_layers_are_means_over_folds_and_seeds() -> None:
    found = scored()
    records = [scoring.head_record(one, MANY, "accuracy") for one in found]
    layers = scoring.layer_scores(found, records, MANY_SCORER, "accuracy", seed=0)
    assert {one.layer for one in layers} == {None, 1}
    for one in layers:
        own = [record for record in records if record.layer == one.layer]
        assert len(own) == 4
        assert one.value == pytest.approx(np.mean([record.metrics["accuracy"] for record in own]))
        for seed in (0, 3):
            assert one.by_seed[seed] == pytest.approx(
                np.mean([record.metrics["accuracy"] for record in own if record.seed == seed])
            )
        evaluations = [head.evaluation for head in found if head.layer == one.layer]
        interval = MANY_SCORER.interval(evaluations, "accuracy", one.value, 0)
        assert (one.low, one.high, one.interval) == (interval.low, interval.high, interval.how)


def test_the_grid_keeps_what_was_not_chosen_and_what_diverged() -> None:
    beaten, lost = attempt(0, 0, None, lr=1e-4), Attempt(1, Point(10.0, 0, None), diverged=7)
    grid = scoring.grid_records([*CHOSEN, beaten, lost], CHOSEN, MANY, "wer")
    assert [point.chosen for point in grid] == [True] * 8 + [False] * 2
    assert (grid[8].lr, grid[8].development, grid[8].curve[-1][2], grid[8].diverged) == (1e-4, -0.75, -0.75, None)
    assert (grid[9].fold, grid[9].development, grid[9].curve, grid[9].diverged) == ("small", None, [], 7)


def test_folds_with_different_parts_have_the_same_metrics() -> None:
    folds = [Fold("one", (6,), (), (0, 1, 2)), Fold("two", (6,), (), (3, 4, 5)), Fold("three", (5,), (), (1, 2, 3, 4))]
    scorer = recognisers(written=material(READERS, folds, PARTS, texts=TEXTS))
    names = [set(recognised(scorer, fold, [HEARD[i] for i in fold.test]).metrics) for fold in folds]
    assert names[0] == names[1] == names[2] == {"wer", "cer"}


def test_chance_is_of_the_primary_score() -> None:
    """Always answering the commonest class: half is right, and the mean recall of three classes is a third."""
    fold = Fold("f", (4, 5, 6), (), (0, 1, 2, 3, 4, 5, 8, 9))
    assert ClassificationScorer(TASK, CORPUS, "accuracy").chance(fold) == pytest.approx(1 / 2)
    assert ClassificationScorer(TASK, CORPUS, "unweighted_accuracy").chance(fold) == pytest.approx(1 / 3)


def test_a_folds_lexicon_has_the_words_of_its_own_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other folds train on is what this one is tested on."""
    lexicons: list[list[str]] = []

    def search(*_: object, words: list[str], **__: object) -> object:
        lexicons.append(words)
        return lambda log_posteriors: ""

    monkeypatch.setattr("downstream.scoring.recognition.BeamSearch", search)
    folds = [Fold("one", (0, 1), (), (4, 5)), Fold("two", (4, 5), (), (0, 1))]
    scorer = recognisers(
        written=material(READERS, folds, PARTS, texts=TEXTS), method="beam", language_model="words.arpa"
    )
    for fold in (*folds, *folds):
        scorer.evaluate([torch.zeros(3, len(VOCABULARY))] * 2, fold)
    assert lexicons == [sorted({word for i in fold.train for word in TEXTS[i].split()}) for fold in folds]
