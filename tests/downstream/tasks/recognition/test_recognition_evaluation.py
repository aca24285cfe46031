"""Evaluation of recognisers, worked by hand on predictions that are written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_datasets import small_dataset, whole_test
from torch import Tensor

from downstream.data.dataset import Dataset, development_part, parts_of_test
from downstream.data.splits import Fold
from downstream.statistics import SeedItems, score_intervals
from downstream.statistics.jackknife import jackknives
from downstream.tasks.recognition.family import RecognitionEvaluation, RecognitionTask, TextTargets
from downstream.tasks.recognition.metrics import METRICS
from downstream.tasks.recognition.recipe import RecognitionRecipe
from downstream.tasks.recognition.text import Vocabulary, characters_of, superb_vocabulary
from downstream.tasks.registry import family_of, load_recipe
from upstream.errors import UserError

TEXTS = ("A BAD CAB", "DAB", "A CAB", "BAD DAD", "A B C D", "CAB CAB", "B B")
READERS = ["r", "r", "s", "s", "t", "t", "r"]
PARTS = ["clean", "clean", "clean", "other", "other", "other", "train"]
READ = Fold("read", (6,), (), (0, 1, 2, 3, 4, 5))
WRITTEN = ("A DAD CAB", "DAB", "A B CAB", "DAD", "A B C D", "")
VOCABULARY = superb_vocabulary()
TARGETS = TextTargets(TEXTS)
DIVIDED = small_dataset(READERS, [READ], TARGETS, PARTS)
UNDIVIDED = small_dataset(READERS, [READ], TARGETS)
ENCODER = SimpleNamespace(num_layers=2, dim=4)


def recipe(**decoding: object) -> RecognitionRecipe:
    found = load_recipe(
        "asr", ["text.vocabulary=superb", *(f"decoding.{key}={value}" for key, value in decoding.items())]
    )
    assert isinstance(found, RecognitionRecipe)
    return found


def recognisers(dataset: Dataset = DIVIDED, **decoding: object) -> RecognitionTask:
    task = family_of(recipe(**decoding)).task(dataset, ENCODER)  # type: ignore[arg-type]  # its shape is all it reads
    assert isinstance(task, RecognitionTask)
    return task


def spelled(text: str, vocabulary: Vocabulary = VOCABULARY) -> Tensor:
    """Log posteriors (T, V) that spell a text: each letter twice, a blank behind it."""
    tokens = [t for token in vocabulary.encode(text).tolist() for t in (token, token, vocabulary.blank)]
    certain = torch.nn.functional.one_hot(torch.tensor([vocabulary.blank, *tokens]), len(vocabulary))
    return (certain * 0.9 + 0.1 / len(vocabulary)).log()


def recognised(task: RecognitionTask, fold: Fold = READ, written: Sequence[str] = WRITTEN) -> RecognitionEvaluation:
    """Evaluate the whole test set as one part."""
    return task.evaluate([spelled(text) for text in written], whole_test(fold))


def by_part(*named: str, fold: Fold = READ, dataset: Dataset = DIVIDED) -> dict[str, RecognitionEvaluation]:
    """Evaluate each test part that a recipe names."""
    task, answers = recognisers(dataset), dict(zip(READ.test, WRITTEN, strict=True))
    return {
        part.name: task.evaluate([spelled(answers[index]) for index in part.utterances], part)
        for part in parts_of_test(dataset, fold, named)
    }


def values(evaluation: RecognitionEvaluation) -> dict[str, float]:
    return {name: evaluation.value(name) for name in METRICS}


def test_word_and_character_errors_of_each_part_the_first_that_is_named_first() -> None:
    found = by_part("clean", "other")
    assert list(found) == ["clean", "other"]
    assert values(found["clean"]) == pytest.approx(
        {
            "wer": 2 / 6,  # DAD for BAD, and a B too many
            "cer": (1 + 2) / (9 + 3 + 5),
        }
    )
    assert values(found["other"]) == pytest.approx(
        {
            "wer": (1 + 0 + 2) / (2 + 4 + 2),
            "cer": (4 + 0 + 7) / (7 + 7 + 7),
        }
    )
    assert found["clean"].details() == {
        "errors": {"substitutions": 1, "deletions": 0, "insertions": 1, "reference_length": 6},
    }


def test_naming_the_other_part_first_makes_it_the_score() -> None:
    one, other = by_part("clean", "other"), by_part("other", "clean")
    assert list(other) == ["other", "clean"]
    assert other["other"].value("wer") == one["other"].value("wer")
    assert other["clean"].value("cer") == one["clean"].value("cer")
    assert other["other"].details()["errors"]["reference_length"] == 8


def test_a_test_set_of_one_part_or_of_none_has_no_further_parts() -> None:
    clean = Fold("clean", (6,), (), (0, 1, 2))
    assert list(by_part(fold=clean)) == ["test"]
    assert list(by_part("clean", fold=clean)) == ["clean"]
    undivided = by_part("clean", "other", dataset=UNDIVIDED)
    assert list(undivided) == ["test"]
    assert values(undivided["test"]) == pytest.approx({"wer": 5 / 14, "cer": 14 / 38})


def test_folds_with_different_parts_have_the_same_parts_where_none_is_named() -> None:
    folds = [Fold("one", (6,), (), (0, 1, 2)), Fold("two", (6,), (), (3, 4, 5)), Fold("three", (5,), (), (1, 2, 3, 4))]
    dataset = small_dataset(READERS, folds, TARGETS, PARTS)
    found = [by_part(fold=fold, dataset=dataset) for fold in folds]
    assert [list(one) for one in found] == [["test"]] * 3
    assert {tuple(values(one["test"])) for one in found} == {("wer", "cer")}


def test_a_recognisers_items_are_errors_and_lengths_of_utterances() -> None:
    items = by_part("other")["other"].items()
    assert items.clusters == (("s",), ("t",), ("t",))
    # Word errors, words, character errors, characters: DAD for BAD DAD, all right, and nothing for CAB CAB.
    assert items.counts.tolist() == [[1, 2, 4, 7], [0, 4, 0, 7], [2, 2, 7, 7]]
    assert items.answers == tuple(WRITTEN[i] for i in (3, 4, 5))
    assert items.value("wer") == by_part("other")["other"].value("wer")


def test_rates_without_a_speaker_are_those_of_the_other_utterances() -> None:
    """Of two seeds; rates above one are rates."""
    task = recognisers(UNDIVIDED)
    worse = ("A A A A A", "B B B B", "A CAB", "BAD", "A B", "CAB CAB CAB")
    errors, lengths = [[1, 0, 1, 1, 0, 2], [4, 4, 0, 1, 2, 1]], [3, 1, 2, 2, 4, 2]
    evaluations = [recognised(task), recognised(task, written=worse)]
    assert [[own.errors for own in one.errors("wer")] for one in evaluations] == errors
    heads = [SeedItems(seed, one.items()) for seed, one in enumerate(evaluations)]
    for place, reader in enumerate("rst"):
        others = [i for i in range(6) if READERS[i] != reader]
        rates = [sum(own[i] for i in others) / sum(lengths[i] for i in others) for own in errors]
        assert jackknives(heads, ["wer"])["wer"].without[place] == pytest.approx(np.mean(rates))
    intervals = score_intervals(heads, {"wer": 1.1}, {"wer": METRICS["wer"].range})
    assert intervals["wer"].high > 1.1


def test_a_recogniser_leaves_rows_transcripts_and_a_report() -> None:
    found = recognised(recognisers())
    assert found.rows()[3] == {
        "id": "u3", "speaker": "s", "part": "other", "reference": "BAD DAD", "hypothesis": "DAD",
    }  # fmt: skip
    assert [row["hypothesis"] for row in found.rows()] == list(WRITTEN)
    files = found.files()
    assert files["ref"].decode().splitlines() == [f"u{i} {text}" for i, text in enumerate(TEXTS[:6])]
    assert files["hyp"].decode().splitlines()[3:] == ["u3 DAD", "u4 A B C D", "u5"]
    assert "BAD -> DAD" in files["errors.txt"].decode()


def test_every_part_leaves_transcripts_of_its_own() -> None:
    found = by_part("other", "clean")
    assert found["other"].files()["hyp"].decode().splitlines() == ["u3 DAD", "u4 A B C D", "u5"]
    assert found["clean"].files()["ref"].decode().splitlines() == [f"u{i} {TEXTS[i]}" for i in range(3)]


def test_a_recogniser_that_knows_nothing_gives_the_best_of_constant_answers() -> None:
    """Nothing, the commonest transcript of training, or its commonest word, for each part."""

    def chance(fold: Fold, metric: str) -> float:
        dataset = small_dataset(READERS, [fold], TARGETS, PARTS)
        return recognisers(dataset).chance(parts_of_test(dataset, fold, ("clean", "other"))[0])[metric]

    spoken = Fold("spoken", (2,), (), READ.test)  # trains on A CAB: one error, two and none in six words
    assert chance(spoken, "wer") == pytest.approx(3 / 6)
    assert chance(READ, "wer") == pytest.approx(1.0)  # B B has seven errors, B has six
    assert chance(READ, "cer") == pytest.approx((6 + 2 + 3) / 17)  # B B


def test_beam_search_without_a_language_model_writes_what_greedy_decoding_writes() -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    assert recognised(recognisers(method="beam")).rows() == recognised(recognisers()).rows()


@pytest.mark.parametrize("setting", ["lexicon", "language_model"])
def test_greedy_decoding_takes_no_words(setting: str) -> None:
    with pytest.raises(UserError, match=f"greedy decoding takes no {setting.replace('_', ' ')}; choose"):
        recipe(**{setting: "words.lst"})


def test_what_beam_search_lacks_is_said_before_anything_is_learned() -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    with pytest.raises(UserError, match=r"language model absent.arpa is not there"):
        recognisers(method="beam", language_model="absent.arpa")


def fake_search(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Put a beam search in place that writes nothing; return the lexicons that it is given."""
    lexicons: list[list[str]] = []

    def search(*_: object, words: list[str], **__: object) -> Callable[[Tensor], str]:
        lexicons.append(words)
        return lambda log_posteriors: ""

    monkeypatch.setattr("downstream.tasks.recognition.decoding.BeamSearch", search)
    return lexicons


def test_a_folds_lexicon_has_the_words_of_its_own_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other folds train on is what this one is tested on."""
    lexicons = fake_search(monkeypatch)
    folds = [Fold("one", (0, 1), (), (4, 5)), Fold("two", (4, 5), (), (0, 1))]
    task = recognisers(small_dataset(READERS, folds, TARGETS, PARTS), method="beam", language_model="words.arpa")
    for fold in (*folds, *folds):
        task.evaluate([torch.zeros(3, len(VOCABULARY))] * 2, whole_test(fold))
    assert lexicons == [sorted({word for i in fold.train for word in TEXTS[i].split()}) for fold in folds]


def test_development_is_decoded_greedily_whatever_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_search(monkeypatch)
    fold = Fold("read", (6,), (0, 1, 2), (3, 4, 5))
    dataset = small_dataset(READERS, [fold], TARGETS)
    task = recognisers(dataset, method="beam", language_model="words.arpa")
    developed = task.evaluate([spelled(text) for text in WRITTEN[:3]], development_part(fold))
    assert values(developed) == values(by_part("clean")["clean"])
    assert task.evaluate([spelled("DAD")] * 3, whole_test(fold)).value("wer") == 1.0


def test_the_characters_are_those_that_some_fold_trains_on() -> None:
    folds = [Fold("one", (1,), (), (0,)), Fold("two", (6,), (), (0,))]
    task = RecognitionTask(small_dataset(READERS, folds, TARGETS), 2, 4, load_recipe("asr"))  # type: ignore[arg-type]
    assert task.vocabulary == characters_of(["DAB", "B B"])
    assert task.outputs(folds[0]) == task.vocabulary.tokens == ("<blank>", "<unk>", "|", "A", "B", "D")
    assert np.array_equal(task.targets[0].numpy(), task.vocabulary.encode("A BAD CAB").numpy())
