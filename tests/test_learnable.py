"""What of a corpus is learned: classes with others and silence, texts, speakers; and the material made of it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from downstream import material
from downstream.audio import Segment
from downstream.corpora.speech_commands import TEST_ARCHIVE, superb_part
from downstream.corpora.splits import Fold, Split
from downstream.corpora.table import Corpus, Utterance
from downstream.effects import Effects
from downstream.learnable import Learnable, choose_utterances
from downstream.material import Material, read_material, training_speakers, with_effects, without_short
from downstream.recipe import Recipe, load_recipe
from upstream.encode import Item
from upstream.errors import MendableError


@cache
def wav(name: str, seconds: float) -> bytes:
    """A recording that no other name has."""
    stream = io.BytesIO()
    generator = np.random.default_rng(list(name.encode()))
    samples = 0.1 * generator.standard_normal(round(seconds * 16_000))
    soundfile.write(stream, samples, 16_000, format="WAV")
    return stream.getvalue()


@dataclass(frozen=True)
class InMemory:
    """A recording that lies on no disk."""

    name: str
    lasting: float

    def open(self) -> io.BytesIO:
        return io.BytesIO(wav(self.name, self.lasting))


def row(name: str, speaker: str = "s", seconds: float = 0.1, **fields: object) -> Utterance:
    return Utterance(name, Segment(InMemory(name, seconds)), speaker, **fields)  # type: ignore[arg-type]


def word(label: str, speaker: str = "s", take: int = 0, **fields: object) -> Utterance:
    return row(f"{label}/{speaker}_{take}", speaker, labels={"word": label}, **fields)


def noise(name: str, seconds: float, label: str = "_background_noise_", **fields: object) -> Utterance:
    return row(f"{label}/{name}", "", seconds, labels={"word": label}, **({"speech": False} | fields))


def corpus(utterances: Sequence[Utterance], **fields: object) -> Corpus:
    return Corpus("small", "Small", "none", tuple(utterances), "nowhere", **fields)  # type: ignore[arg-type]


def chosen(recipe: Recipe, utterances: Sequence[Utterance]) -> Learnable:
    return choose_utterances(recipe, corpus(utterances))


def class_of(learnable: Learnable) -> dict[str, str]:
    """The class of every utterance, by its id."""
    pairs = zip(learnable.utterances, learnable.targets, strict=True)
    return {utterance.id: learnable.classes[target] for utterance, target in pairs}


SILENCE = "corpus.silence={label: _background_noise_, name: _silence_, seconds: 1.0}"
WORDS = ["corpus.classes=[go, stop]", "corpus.label=[word]"]


def keyword(*overrides: str) -> Recipe:
    return load_recipe("keyword", [*WORDS, *overrides])


# ---------------------------------------------------------------- classes


def test_all_labels_are_classes_where_none_are_named() -> None:
    recipe = load_recipe("keyword_words", ["corpus.label=[word]"])
    found = chosen(recipe, [word("stop"), word("go"), word("bed"), row("unlabelled"), noise("rain", 3.0)])
    assert found.classes == ("bed", "go", "stop")
    assert class_of(found) == {"bed/s_0": "bed", "go/s_0": "go", "stop/s_0": "stop"}
    assert (found.column, found.texts) == ("word", ())


def test_classes_keep_the_recipes_order_and_utterances_are_sorted_by_id() -> None:
    utterances = [word("stop"), word("go", take=2), word("go", take=1)]
    found = chosen(keyword("corpus.classes=[stop, go]", "corpus.others=null", "corpus.silence=null"), utterances)
    assert found.classes == ("stop", "go")
    assert [u.id for u in found.utterances] == ["go/s_1", "go/s_2", "stop/s_0"]
    assert found.targets == (1, 1, 0)
    assert found == chosen(keyword("corpus.classes=[stop, go]", "corpus.others=null", "corpus.silence=null"),
                           utterances[::-1])  # fmt: skip


def test_other_words_are_left_out_or_one_class() -> None:
    utterances = [word("go"), word("stop"), word("bed"), word("cat"), word("_unknown_")]
    none = chosen(keyword("corpus.others=null", "corpus.silence=null"), utterances)
    assert set(class_of(none).values()) == {"go", "stop"}
    one = chosen(keyword("corpus.silence=null"), utterances)
    assert one.classes == ("go", "stop", "_unknown_")
    assert [u.id for u in one.utterances if class_of(one)[u.id] == "_unknown_"] == [
        "_unknown_/s_0",
        "bed/s_0",
        "cat/s_0",
    ]
    assert one.utterances[1].labels == {"word": "bed"}, "what was said is still known"


def test_others_named_like_a_class_join_it() -> None:
    found = chosen(keyword("corpus.others=stop", "corpus.silence=null"), [word("go"), word("stop"), word("bed")])
    assert found.classes == ("go", "stop")
    assert class_of(found)["bed/s_0"] == "stop"


def test_silence_is_cut_from_noise_in_windows_that_have_a_split() -> None:
    found = chosen(keyword(), [word("go"), word("stop"), word("bed"), noise("rain", 12.3), noise("tap", 3.0)])
    assert found.classes == ("go", "stop", "_unknown_", "_silence_")
    silent = [u for u in found.utterances if not u.speech]
    assert len(silent) == 15
    assert all(class_of(found)[u.id] == u.labels["word"] == "_silence_" for u in silent)
    assert Counter(u.split for u in silent) == {"train": 8 + 1, "dev": 2 + 1, "test": 2 + 1}
    assert all((u.audio.duration, u.speaker) == (1.0, "") for u in silent)


def test_noise_is_left_out_where_silence_is_no_class() -> None:
    found = chosen(keyword("corpus.silence=null"), [word("go"), word("stop"), word("bed"), noise("rain", 3.0)])
    assert all(u.speech for u in found.utterances)


def test_recordings_with_the_label_of_noise_are_noise_though_a_manifest_cannot_say_so() -> None:
    told = noise("rain", 10.0, speech=True, split="train")
    found = chosen(keyword("corpus.others=null"), [word("go"), word("stop"), told])
    silent = [u for u in found.utterances if class_of(found)[u.id] == "_silence_"]
    assert [u.speech for u in silent] == [False] * 10


def test_clips_that_are_silence_already_stay_as_they_are() -> None:
    """As in the official test archive."""
    clip = noise("0", 1.0, label="_silence_", part=TEST_ARCHIVE)
    found = chosen(keyword(), [word("go"), word("stop"), word("bed"), noise("rain", 10.0), clip])
    assert [u for u in found.utterances if u.part == TEST_ARCHIVE] == [clip]
    assert class_of(found)[clip.id] == "_silence_"


def test_with_superbs_rule_the_recordings_of_noise_stay_whole() -> None:
    found = chosen(load_recipe("superb/ks", WORDS), [word("go"), word("stop"), word("bed"), noise("rain", 10.0)])
    silent = [u for u in found.utterances if not u.speech]
    assert [(u.id, u.audio.duration) for u in silent] == [("_background_noise_/rain", None)]
    assert class_of(found)["_background_noise_/rain"] == silent[0].labels["word"] == "_silence_"


def test_a_class_without_utterances_is_refused_with_the_labels_that_there_are() -> None:
    cases = [
        ([word("go"), word("bed"), noise("rain", 5.0)], "no utterance of class stop;.*_background_noise_, bed, go"),
        ([word("go"), word("stop"), noise("rain", 5.0)], "no utterance of class _unknown_"),
        ([word("go"), word("stop"), word("bed")], "no utterance of class _silence_"),
        ([word("go"), word("stop"), word("bed"), noise("click", 0.5)], "no utterance of class _silence_"),
    ]
    for utterances, words in cases:
        with pytest.raises(MendableError, match=words):
            chosen(keyword(), utterances)
    with pytest.raises(MendableError, match=r"no utterance of class \(any other\)"):
        chosen(load_recipe("keyword_words", ["corpus.label=[word]"]), [word("go")])


def test_the_first_label_column_that_there_is_is_learned() -> None:
    utterances = [row("a", labels={"tone": "low", "mood": "sad"}), row("b", labels={"tone": "high", "mood": "glad"})]
    recipe = load_recipe("keyword_words", ["corpus.label=[word, mood, tone]"])
    assert chosen(recipe, utterances).column == "mood"
    with pytest.raises(MendableError, match="no label column word or label; found mood, tone"):
        chosen(load_recipe("keyword_words", ["corpus.label=[word, label]"]), utterances)


# ---------------------------------------------------------------- texts and speakers


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
    assert found.texts == ("TWO WORDS", "IT'S LATE ISN'T IT")
    assert (found.column, found.classes, found.targets) == ("text", (), ())
    assert found.notes == ("3 utterances have no transcript and were left out.",)
    assert chosen(load_recipe("asr"), utterances[2:3]).notes == ()
    with pytest.raises(MendableError, match="Small in nowhere has no transcripts"):
        chosen(load_recipe("asr"), utterances[3:])


def test_utterances_of_known_speakers_are_verified() -> None:
    utterances = [row("c", "x"), row("a", "y"), row("b", ""), noise("rain", 1.0), row("d", "y", speech=False)]
    found = chosen(load_recipe("sv"), utterances)
    assert [u.id for u in found.utterances] == ["a", "c"]
    assert (found.column, found.targets, found.texts) == ("speaker", (), ())
    assert found.notes == ("3 utterances name no speaker and were left out.",)
    with pytest.raises(MendableError, match="does not name two speakers"):
        chosen(load_recipe("sv"), [row("a", "x"), row("b", "x")])


# ---------------------------------------------------------------- pieces of the material


def items(*seconds: float) -> list[Item]:
    return [Item(f"u{i}", None, f"{i:064d}", own) for i, own in enumerate(seconds)]  # type: ignore[arg-type]


def test_training_utterances_must_be_longer_and_no_others() -> None:
    split = Split((Fold("one", (0, 1, 2), (3,), (4,)),), "rule", ("a note",))
    shorter = without_short(split, items(2.0, 2.0 + 1 / 16_000, 9.0, 0.1, 0.1), 2.0)
    assert shorter.folds == (Fold("one", (1, 2), (3,), (4,)),)
    assert shorter.notes == ("a note", "1 training utterances are not longer than 2 s and were left out.")
    assert without_short(split, items(2.1, 2.1, 9.0, 0.1, 0.1), 2.0) is split
    assert without_short(split, items(*[0.1] * 5), 0.0) is split
    with pytest.raises(MendableError, match="No training utterance of one is longer than 9 s; lower split.longer_than"):
        without_short(split, items(2.0, 2.0, 9.0, 9.5, 9.5), 9.0)


def test_speakers_are_numbered_who_are_trained_on_in_any_fold() -> None:
    utterances = [row(f"u{i}", speaker) for i, speaker in enumerate(["b", "a", "d", "c", "b"])]
    split = Split((Fold("one", (0,), (1,), (2,)), Fold("two", (3, 4), (), (1,))), "rule")
    assert training_speakers(utterances, split) == (("b", "c"), (0, -1, -1, 1, 0))


def test_effects_are_on_every_utterance_and_change_its_digest() -> None:
    plain = corpus([word("go"), word("stop", seconds=0.3)])
    lowered = with_effects(plain, load_recipe("superb/ks"))
    assert [u.audio.effects for u in lowered.utterances] == [Effects(decibels=-3.0)] * 2
    for one, other in zip(plain.utterances, lowered.utterances, strict=True):
        assert replace(other, audio=one.audio) == one
        assert one.audio.digest() != other.audio.digest()
    assert with_effects(plain, keyword()) == plain
    assert with_effects(plain, load_recipe("superb/asv")).utterances[0].audio.effects == Effects(-3.0, silence=True)


# ---------------------------------------------------------------- the whole material


def read(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, utterances: Sequence[Utterance]) -> Material:
    monkeypatch.setattr(material, "load_corpus", lambda *_: corpus(utterances))
    return read_material(recipe, None, Path("unused"))


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
    assert len(found.utterances) == len(found.targets) == len(found.items)
    windows = [index for index, u in enumerate(found.utterances) if "@" in u.id]
    assert len(windows) > 1
    assert windows == list(range(len(found.utterances) - len(windows), len(found.utterances)))
    for index in windows:
        assert found.classes[found.targets[index]] == "_silence_"
        assert found.items[index].seconds == 1.0
        assert index in fold.dev
    assert len({found.items[index].digest for index in windows}) == len(windows)
    assert len(fold.dev) == 8 * 4 + 2
    described = found.describe(fold.test)
    assert described.labels == {"go": 1, "stop": 1, "_unknown_": 1, "_silence_": 1}
    assert described.speakers == 1
    assert found.describe(fold.train).labels == {"go": 8, "stop": 8, "_unknown_": 16, "_silence_": 2}
    assert found.items[fold.train[-1]].seconds == 10.0  # whole


def test_clean_keywords_leave_the_archive_out_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, keyword(), commands())
    (fold,) = found.split.folds
    assert found.split.notes == ("4 utterances belong to no part of the corpus's split and were left out.",)
    assert found.describe(fold.train).labels == {"go": 8, "stop": 8, "_unknown_": 16, "_silence_": 2 + 8}
    assert found.describe(fold.dev).labels == found.describe(fold.test).labels
    assert found.describe(fold.test).labels == {"go": 8, "stop": 8, "_unknown_": 16, "_silence_": 1 + 1}
    assert not [u for u in found.utterances if u.part == TEST_ARCHIVE]


def test_what_no_fold_uses_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is used keeps class, audio and place: discarded speakers stand among the others."""
    whole = commands()
    found = read(monkeypatch, load_recipe("superb/ks", WORDS), whole)
    assert found.split.used == tuple(range(len(found.utterances)))
    assert not [u for u in found.utterances if u.part == "main" and u.speech and superb_part(u.speaker) == "discarded"]
    for utterance, target, item in zip(found.utterances, found.targets, found.items, strict=True):
        said = utterance.labels["word"]
        assert found.classes[target] == (said if said in found.classes else "_unknown_")
        assert item.digest == utterance.audio.digest()
    (fold,) = found.split.folds
    assert {superb_part(found.utterances[i].speaker) for i in fold.train if found.utterances[i].speech} == {"train"}
    assert {found.utterances[i].part for i in fold.test} == {TEST_ARCHIVE}


def voices(**fields: object) -> list[Utterance]:
    """Four utterances of each of ten speakers, a tenth of a second longer from take to take."""
    names = {"train": "abcdef", "dev": "gh", "test": "ij"}
    return [
        row(f"{name}{take}", name, 0.1 * (take + 1), split=part, text=f"word {name}", **fields)
        for part, speakers in names.items()
        for name in speakers
        for take in range(4)
    ]


def test_verification_numbers_the_training_speakers_and_tests_the_utterances_of_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe("sv", ["split.longer_than=0.25", "trials.normalisation=s_norm", "trials.cohort=7"])
    found = read(monkeypatch, recipe, [u for u in voices() if u.id not in ("a2", "a3")])
    (fold,) = found.split.folds
    assert found.classes == tuple("bcdef")  # nothing of speaker a is long enough
    assert [found.utterances[i].id for i in fold.train] == [f"{name}{take}" for name in "bcdef" for take in (2, 3)]
    assert all(found.targets[i] == "bcdef".index(found.utterances[i].speaker) for i in fold.train)
    assert {found.targets[i] for i in (*fold.dev, *fold.test)} == {-1}
    assert set(found.trials) == {fold.dev, fold.test}
    for part in (fold.dev, fold.test):
        assert found.trials[part].utterances.tolist() == list(part)
    (cohort,) = found.cohorts.values()
    assert set(cohort) <= set(fold.train)
    assert sorted(Counter(found.utterances[i].speaker for i in cohort).values()) == [1, 1, 1, 2, 2]
    assert found.describe(fold.train).labels == {}
    assert found.describe(fold.train).speakers == 5


def test_recognition_knows_the_words_of_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, load_recipe("asr"), voices())
    (fold,) = found.split.folds
    assert (found.classes, found.targets, found.trials) == ((), (), {})
    assert found.texts[fold.test[0]] == "WORD I"
    described = found.describe(fold.test)
    assert (described.words, described.labels, described.utterances) == (16, {}, 8)
    assert described.seconds == pytest.approx(2.0)


def test_the_fingerprint_is_of_texts_and_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = read(monkeypatch, load_recipe("asr"), voices()).fingerprint
    assert plain == read(monkeypatch, load_recipe("asr"), voices()[::-1]).fingerprint
    louder = load_recipe("asr", ["corpus.effects.gain=3.0"])
    assert plain != read(monkeypatch, louder, voices()).fingerprint
    said = [replace(u, text="another") if u.id == "a0" else u for u in voices()]
    assert plain != read(monkeypatch, load_recipe("asr"), said).fingerprint


def test_words_are_classes_and_the_test_archives_folders_are_not() -> None:
    recipe = load_recipe("keyword_words", ["corpus.label=[word]"])
    clips = [word("go", split="train"), word("stop", split="train")]
    archive = [word("_unknown_", part=TEST_ARCHIVE), word("go", take=9, part=TEST_ARCHIVE)]
    assert chosen(recipe, [*clips, *archive]).classes == ("go", "stop")


def test_short_utterances_are_counted_once_over_folds() -> None:
    split = Split((Fold("a", (0, 1), (2,), (3,)), Fold("b", (0, 2), (3,), (1,)), Fold("c", (0, 3), (1,), (2,))), "r")
    assert without_short(split, items(1.0, 3.0, 3.0, 3.0), 2.0).notes[0].startswith("1 training utterances")
