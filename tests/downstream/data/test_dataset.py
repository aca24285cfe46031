"""A dataset made of a corpus: only what is used, effects, short utterances, test parts, the fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from small_corpora import WORDS, corpus, keyword, noise, read, row, voices, word
from small_datasets import small_dataset

from downstream.data.corpora.speech_commands import TEST_ARCHIVE
from downstream.data.corpus import Utterance
from downstream.data.dataset import (
    Part,
    Targets,
    development_part,
    parts_of_test,
    read_dataset,
    with_effects,
    without_short,
)
from downstream.data.effects import Effects
from downstream.data.splits import Fold, Split
from downstream.data.superb_splits import superb_part
from downstream.results.build import split_record
from downstream.tasks.classification.data import class_targets
from downstream.tasks.registry import family_of, load_recipe
from upstream.encode import Item
from upstream.errors import UserError


def items(*seconds: float) -> list[Item]:
    return [Item(f"u{i}", None, f"{i:064d}", own) for i, own in enumerate(seconds)]  # type: ignore[arg-type]


def test_training_utterances_must_be_longer_and_no_others() -> None:
    split = Split((Fold("one", (0, 1, 2), (3,), (4,)),), "rule", ("a note",))
    shorter = without_short(split, items(2.0, 2.0 + 1 / 16_000, 9.0, 0.1, 0.1), 2.0)
    assert shorter.folds == (Fold("one", (1, 2), (3,), (4,)),)
    assert shorter.notes == ("a note", "1 training utterance is not longer than 2 s, and left out.")
    assert without_short(split, items(2.1, 2.1, 9.0, 0.1, 0.1), 2.0) is split
    assert without_short(split, items(*[0.1] * 5), 0.0) is split
    with pytest.raises(UserError, match="No training utterance of one is longer than 9 s; lower split.longer_than"):
        without_short(split, items(2.0, 2.0, 9.0, 9.5, 9.5), 9.0)


def test_effects_are_on_every_utterance_and_change_its_digest() -> None:
    plain = corpus([word("go"), word("stop", seconds=0.3)])
    lowered = with_effects(plain, load_recipe("superb/ks").corpus.effects)
    assert [u.audio.effects for u in lowered.utterances] == [Effects(decibels=-3.0)] * 2
    for one, other in zip(plain.utterances, lowered.utterances, strict=True):
        assert replace(other, audio=one.audio) == one
        assert one.audio.digest() != other.audio.digest()
    assert with_effects(plain, keyword().corpus.effects) == plain
    superb = with_effects(plain, load_recipe("superb/asv").corpus.effects)
    assert superb.utterances[0].audio.effects == Effects(-3.0, silence=True)


# ---------------------------------------------------------------- the whole dataset


def commands() -> list[Utterance]:
    """Words of eight speakers of each part by SUPERB's hash, noise, and the test archive."""
    names = [f"{number:08x}" for number in range(200)]
    by_part = {part: [s for s in names if superb_part(s) == part][:8] for part in ("train", "dev", "discarded")}
    official = {"train": "train", "dev": "dev", "discarded": "test"}
    said = ["go", "stop", "bed", "cat"]
    spoken = [
        word(one, speaker, split=official[part], part="main")
        for part in by_part
        for speaker in by_part[part]
        for one in said
    ]
    archive = [word(one, by_part["train"][0], 9, part=TEST_ARCHIVE) for one in ("go", "stop", "_unknown_")]
    silent = noise("0", 1.0, label="_silence_", part=TEST_ARCHIVE)
    return [*spoken, *archive, silent, noise("rain", 4.5, part="main"), noise("tap", 10.0, part="main")]


def test_superbs_keywords_have_windows_of_noise_behind_their_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, load_recipe("superb/ks", WORDS), commands())
    (fold,) = found.split.folds
    assert found.classes == ("go", "stop", "_unknown_", "_silence_")
    numbers = class_targets(found).numbers
    assert len(found.utterances) == len(found.labels) == len(numbers) == len(found.items)
    windows = [index for index, u in enumerate(found.utterances) if "@" in u.id]
    assert len(windows) > 1
    assert windows == list(range(len(found.utterances) - len(windows), len(found.utterances)))
    for index in windows:
        assert found.classes[numbers[index]] == found.labels[index] == "_silence_"
        assert found.items[index].seconds == 1.0
        assert index in fold.dev
    assert len({found.items[index].digest for index in windows}) == len(windows)
    assert len(fold.dev) == 8 * 4 + 2
    described = split_record(found, fold.test)
    assert described.labels == {"go": 1, "stop": 1, "_unknown_": 1, "_silence_": 1}
    assert described.speakers == 1
    assert split_record(found, fold.train).labels == {"go": 8, "stop": 8, "_unknown_": 16, "_silence_": 2}
    assert found.items[fold.train[-1]].seconds == 10.0  # whole


def test_clean_keywords_leave_the_archive_out_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, keyword(), commands())
    (fold,) = found.split.folds
    assert found.split.notes == ("4 utterances belong to no part of the corpus's split and were left out.",)
    assert split_record(found, fold.train).labels == {"go": 8, "stop": 8, "_unknown_": 16, "_silence_": 2 + 8}
    assert split_record(found, fold.dev).labels == split_record(found, fold.test).labels
    assert split_record(found, fold.test).labels == {"go": 8, "stop": 8, "_unknown_": 16, "_silence_": 1 + 1}
    assert not [u for u in found.utterances if u.part == TEST_ARCHIVE]


def test_a_refusal_tells_what_was_left_out_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lists of parts, or with such that name nothing here, there is no split; the reader noted it."""
    undivided = [replace(u, split=None) for u in commands()]
    noted = corpus(undivided, notes=("There is no testing_list.txt in there.",))
    monkeypatch.setattr("downstream.data.dataset.load_corpus", lambda *_: noted)
    with pytest.raises(UserError) as refusal:
        read_dataset(keyword(), family_of(keyword()), None, Path("unused"))
    assert "The corpus publishes no train part but noise" in str(refusal.value)
    assert str(refusal.value).endswith("What was noted when Small was read: There is no testing_list.txt in there.")
    with pytest.raises(UserError, match="no label column emotion.*There is no testing_list"):
        read_dataset(keyword("corpus.label=[emotion]"), family_of(keyword("corpus.label=[emotion]")), None, Path("x"))


def test_a_test_archive_of_noise_alone_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = [u for u in commands() if u.part != TEST_ARCHIVE or not u.speech]
    with pytest.raises(UserError, match="of which no word was found"):
        read(monkeypatch, load_recipe("superb/ks", [*WORDS, "corpus.others=null"]), silent)


def test_what_no_fold_uses_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is used keeps class, audio and place: discarded speakers stand among the others."""
    whole = commands()
    found = read(monkeypatch, load_recipe("superb/ks", WORDS), whole)
    assert found.split.used == tuple(range(len(found.utterances)))
    assert not [u for u in found.utterances if u.part == "main" and u.speech and superb_part(u.speaker) == "discarded"]
    numbers = class_targets(found).numbers
    for utterance, number, item in zip(found.utterances, numbers, found.items, strict=True):
        said = utterance.labels["word"]
        assert found.classes[number] == (said if said in found.classes else "_unknown_")
        assert item.digest == utterance.audio.digest()
    (fold,) = found.split.folds
    assert {superb_part(found.utterances[i].speaker) for i in fold.train if found.utterances[i].speech} == {"train"}
    assert {found.utterances[i].part for i in fold.test} == {TEST_ARCHIVE}


def test_the_fingerprint_is_of_texts_and_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = read(monkeypatch, load_recipe("asr"), voices()).fingerprint
    assert plain == read(monkeypatch, load_recipe("asr"), voices()[::-1]).fingerprint
    louder = load_recipe("asr", ["corpus.effects.gain=3.0"])
    assert plain != read(monkeypatch, louder, voices()).fingerprint
    said = [replace(u, text="another") if u.id == "a0" else u for u in voices()]
    assert plain != read(monkeypatch, load_recipe("asr"), said).fingerprint


def test_short_utterances_are_counted_once_over_folds() -> None:
    split = Split((Fold("a", (0, 1), (2,), (3,)), Fold("b", (0, 2), (3,), (1,)), Fold("c", (0, 3), (1,), (2,))), "r")
    assert without_short(split, items(1.0, 3.0, 3.0, 3.0), 2.0).notes[0].startswith("1 training utterance ")


# ---------------------------------------------------------------- parts


def names_and_utterances(parts: Sequence[Part]) -> list[tuple[str, tuple[int, ...]]]:
    assert all(part.is_test for part in parts)
    return [(part.name, part.utterances) for part in parts]


def test_test_parts_are_in_the_recipes_order_and_their_utterances_in_the_folds() -> None:
    fold = Fold("f", (0,), (1,), (2, 5, 3, 4))
    dataset = small_dataset("abcdef", [fold], parts=["x", "x", "other", "clean", "other", "clean"])
    assert names_and_utterances(parts_of_test(dataset, fold, ("clean", "other"))) == [
        ("clean", (5, 3)),
        ("other", (2, 4)),
    ]
    assert names_and_utterances(parts_of_test(dataset, fold, ("other", "clean"))) == [
        ("other", (2, 4)),
        ("clean", (5, 3)),
    ]
    assert names_and_utterances(parts_of_test(dataset, fold, ("clean",))) == [("clean", (5, 3)), ("test", (2, 4))]
    assert names_and_utterances(parts_of_test(dataset, fold, ())) == [("test", (2, 5, 3, 4))]
    assert names_and_utterances(parts_of_test(dataset, fold, ("elsewhere",))) == [("test", (2, 5, 3, 4))]
    assert all(part.fold is fold for part in parts_of_test(dataset, fold, ("clean",)))


def test_utterances_of_a_corpus_without_parts_are_one_part() -> None:
    fold = Fold("f", (0,), (1,), (2, 3))
    assert names_and_utterances(parts_of_test(small_dataset("abcd", [fold]), fold, ("clean", "other"))) == [
        ("test", (2, 3))
    ]


def test_the_development_part_is_no_test() -> None:
    fold = Fold("f", (0,), (1, 2), (3,))
    assert development_part(fold) == Part(fold, "dev", (1, 2), is_test=False)


def test_a_family_without_targets_knows_nothing_of_them() -> None:
    targets, fold = Targets(), Fold("f", (0,), (1,), (2,))
    assert (targets.labels([0]), targets.words([0]), targets.further_test_utterances(fold)) == ({}, None, ())
    assert targets.question() == []
    with pytest.raises(NotImplementedError, match="Targets has no classes to balance"):
        targets.class_numbers([0])


def test_a_seed_of_the_split_that_is_of_no_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = [replace(u, labels={"label": u.id[-1]}) for u in voices()]
    known = read(monkeypatch, load_recipe("emotion", ["split.seed=3"]), utterances)
    assert known.split.notes[0] == "split.seed changed nothing: this division is not drawn with it."
    nameless = [replace(u, speaker="", split=None) for u in utterances]
    drawn = read(monkeypatch, load_recipe("emotion", ["split.seed=3"]), nameless)
    assert "in an order drawn with seed 3" in drawn.split.rule
    assert drawn.split.notes == ()


def test_equal_audio_is_in_one_part_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a clip under other names, in the folders of users."""
    once = [row(f"{number:02d}", "", labels={"label": "ab"[number % 2]}) for number in range(20)]
    again = [replace(u, id=f"copy of {u.id}") for u in once[:10]]
    for rule in ("speaker_folds", "published"):
        found = read(monkeypatch, load_recipe("emotion", [f"split.rule={rule}"]), [*once, *again])
        assert len(found.split.used) == 30
        for fold in found.split.folds:
            trained, developed, tested = (
                {found.items[index].digest for index in part} for part in (fold.train, fold.dev, fold.test)
            )
            assert not trained & tested
            assert not developed & (trained | tested)


def test_own_parts_are_used_where_nobody_is_known_and_folds_where_a_part_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    utterances = [replace(u, speaker="", labels={"label": u.id[-1]}) for u in voices()]
    divided = read(monkeypatch, load_recipe("emotion"), utterances)
    assert [fold.name for fold in divided.split.folds] == ["published"]
    assert divided.split.notes == (
        "Not all speakers are known: the corpus's own parts are used in place of folds over speakers.",
    )
    without_test = [u for u in utterances if u.split != "test"]
    assert len(read(monkeypatch, load_recipe("emotion"), without_test).split.folds) == 5


def test_parts_and_settings_that_folds_do_not_use_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = [replace(u, labels={"label": u.id[-1]}) for u in voices()]
    parted = [replace(u, split="train" if number % 2 else "dev") for number, u in enumerate(utterances)]
    unused, parts = read(monkeypatch, load_recipe("emotion", ["split.test=[test-clean]"]), parted).split.notes
    assert unused.startswith("split.test changed nothing")
    assert parts.startswith("The corpus's own division (dev, train) is not used")
    assert "published" not in parts  # which would be refused without a test part
    whole = [*parted[1:], replace(parted[0], split="test")]
    (parts,) = read(monkeypatch, load_recipe("emotion"), whole).split.notes
    assert parts.endswith("; -o split.rule=published takes them.")
    assert read(monkeypatch, load_recipe("emotion"), [replace(u, split=None) for u in utterances]).split.notes == ()
