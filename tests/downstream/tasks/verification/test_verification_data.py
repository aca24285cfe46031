"""Which utterances verification learns from, its training speakers, its trials and cohorts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from small_corpora import chosen, noise, read, row, voices

import upstream
from downstream.data.dataset import parts_of_test
from downstream.data.splits import Fold
from downstream.results.build import split_record
from downstream.tasks.registry import family_of, load_recipe
from downstream.tasks.verification.family import speaker_targets
from upstream.errors import UserError


def test_utterances_of_known_speakers_are_verified() -> None:
    utterances = [row("c", "x"), row("a", "y"), row("b", ""), noise("rain", 1.0), row("d", "y", speech=False)]
    found = chosen(load_recipe("sv"), utterances)
    assert [u.id for u in found.utterances] == ["a", "c"]
    assert (found.column, found.classes, found.labels) == ("speaker", (), ())
    assert found.notes == ("3 utterances name no speaker and were left out.",)
    with pytest.raises(UserError, match="does not name two speakers"):
        chosen(load_recipe("sv"), [row("a", "x"), row("b", "x")])


def test_verification_numbers_the_training_speakers_and_tests_the_utterances_of_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe("sv", ["split.longer_than=0.25", "trials.normalisation=s_norm", "trials.cohort=7"])
    found = read(monkeypatch, recipe, [u for u in voices() if u.id not in ("a2", "a3")])
    (fold,) = found.split.folds
    targets = speaker_targets(found)
    assert "a" not in {found.utterances[i].speaker for i in fold.train}  # nothing of hers is long enough
    assert [found.utterances[i].id for i in fold.train] == [f"{name}{take}" for name in "bcdef" for take in (2, 3)]
    assert list(targets.speakers) == sorted(targets.speakers)
    assert [targets.speakers[number] for number in targets.numbers] == [u.speaker for u in found.utterances]
    assert set(targets.trials) == {fold.dev, fold.test}
    for part in (fold.dev, fold.test):
        assert targets.trials[part].utterances.tolist() == list(part)
    (cohort,) = targets.cohorts.values()
    assert set(cohort) <= set(fold.train)
    assert sorted(Counter(found.utterances[i].speaker for i in cohort).values()) == [1, 1, 1, 2, 2]
    assert split_record(found, fold.train).labels == {}
    assert split_record(found, fold.train).speakers == 5
    assert targets.further_test_utterances(fold) == cohort


def test_training_of_one_speaker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("sv_xvector", ["split.longer_than=0"])
    family, model = family_of(recipe), upstream.load("fbank")
    assert family.task(read(monkeypatch, recipe, voices()), model).caveats() == ()
    alone = read(monkeypatch, recipe, [u for u in voices() if u.split != "train" or u.speaker == "a"])
    alone = replace(alone, split=replace(alone.split, folds=(Fold("one", alone.split.trained, (), ()),)))
    with pytest.raises(UserError, match="training part of one has one speaker, a, and there is nobody"):
        family.task(alone, model).caveats()


def test_every_test_part_of_a_corpus_has_trials_among_its_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = [u if u.split != "test" else replace(u, part="far" if u.id[1] in "01" else "close") for u in voices()]
    utterances = [u if u.part else replace(u, part=u.split) for u in utterances]
    recipe = load_recipe(
        "sv", ["split.train=[train]", "split.dev=[dev]", "split.test=[far, close]", "split.longer_than=0"]
    )
    found = read(monkeypatch, recipe, utterances)
    (fold,) = found.split.folds
    far, close = parts_of_test(found, fold, recipe.split.test_parts)
    assert (far.name, close.name) == ("far", "close")
    assert [found.utterances[i].id for i in far.utterances] == ["i0", "i1", "j0", "j1"]
    assert [found.utterances[i].id for i in close.utterances] == ["i2", "i3", "j2", "j3"]
    trials = speaker_targets(found).trials
    assert set(trials) == {fold.dev, far.utterances, close.utterances}
    for part in (far, close):
        assert trials[part.utterances].utterances.tolist() == list(part.utterances)
        assert (len(trials[part.utterances]), int(trials[part.utterances].target.sum())) == (4, 2)
