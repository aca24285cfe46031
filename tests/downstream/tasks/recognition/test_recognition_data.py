"""Which utterances have a transcript, and what recognition learns of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_corpora import chosen, read, row, voices
from small_datasets import small_dataset

from downstream.results.build import split_record
from downstream.tasks.recognition.family import TextTargets, text_targets
from downstream.tasks.registry import family_of, load_recipe
from upstream.errors import UserError


def test_texts_are_normalised_and_those_without_a_letter_left_out() -> None:
    utterances = [
        row("c", text="It\u2019s late, isn't it?"),
        row("b", text="  "),
        row("a", text="two words"),
        row("e", text="?!"),
        row("d"),
    ]
    found = chosen(load_recipe("asr"), utterances)
    assert [u.id for u in found.utterances] == ["a", "c"]
    dataset = small_dataset(["s", "s"], [])
    finished = family_of(load_recipe("asr")).finish(replace(dataset, utterances=found.utterances))
    assert text_targets(finished).texts == ("TWO WORDS", "IT'S LATE ISN'T IT")
    assert (found.column, found.classes, found.labels) == ("text", (), ())
    assert found.notes == ("3 utterances have no letter or digit in their transcript and were left out.",)
    assert chosen(load_recipe("asr"), utterances[2:3]).notes == ()
    with pytest.raises(UserError, match="Small in nowhere has no transcripts"):
        chosen(load_recipe("asr"), utterances[3:])


def test_what_transcripts_look_like_is_noted_and_letters_without_a_capital_identify_a_run() -> None:
    dataset = small_dataset(["s", "s"], [], notes=("a note of the reader",))
    marked = tuple(replace(u, text=text) for u, text in zip(dataset.utterances, ("so [laughs]", "Maße"), strict=True))
    finished = family_of(load_recipe("asr")).finish(replace(dataset, utterances=marked))
    assert finished.notes[0] == "a note of the reader"
    assert "[laughs] (1)" in finished.notes[1]
    assert finished.targets.question() == ["letters without a capital: ß"]
    assert TextTargets(("ÉTÉ", "IT'S 1", "नमस्ते")).question() == []  # the runs of such corpora are found again


def test_a_test_part_without_words_is_said_to_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that there is no test part, or that parts are named wrongly."""
    silent = [u if u.split != "test" else replace(u, text="?!", part="far") for u in voices()]
    for overrides in ([], ["split.train=[train]", "split.dev=[dev]", "split.test=[far]"]):
        with pytest.raises(UserError, match=r"test|far part of Small .* has 8 utterances.* no letter or digit"):
            read(monkeypatch, load_recipe("asr", overrides), silent)
    undeveloped = [u if u.split != "dev" else replace(u, text="…") for u in voices()]
    found = read(monkeypatch, load_recipe("asr"), undeveloped)
    assert "8 utterances have no letter or digit in their transcript and were left out." in found.notes


def test_words_are_counted() -> None:
    targets = TextTargets(("ONE", "TWO WORDS", "AND THREE MORE"))
    assert targets.words([0, 2]) == 4
    assert targets.words([]) == 0
    assert targets.labels([0, 1]) == {}


def test_recognition_knows_the_words_of_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, load_recipe("asr"), voices())
    (fold,) = found.split.folds
    assert (found.column, found.classes, found.labels) == ("text", (), ())
    assert text_targets(found).texts[fold.test[0]] == "WORD I"
    described = split_record(found, fold.test)
    assert (described.words, described.labels, described.utterances) == (16, {}, 8)
    assert described.seconds == pytest.approx(2.0)
