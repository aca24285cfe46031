"""Which utterances have a class, and which classes there are: with others, with silence cut from noise."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import replace

import pytest
from small_corpora import WORDS, chosen, corpus, keyword, noise, row, word
from small_datasets import small_dataset

from downstream.data.choice import Choice
from downstream.data.corpora.speech_commands import TEST_ARCHIVE
from downstream.data.splits import Fold
from downstream.tasks.classification.data import ClassTargets, class_targets, with_class_targets
from downstream.tasks.registry import family_of, load_recipe
from upstream.errors import UserError


def class_of(choice: Choice) -> dict[str, str]:
    """The class of every utterance, by its id."""
    return {utterance.id: label for utterance, label in zip(choice.utterances, choice.labels, strict=True)}


def test_all_labels_are_classes_where_none_are_named() -> None:
    recipe = load_recipe("keyword_words", ["corpus.label=[word]"])
    found = chosen(recipe, [word("stop"), word("go"), word("bed"), row("unlabelled"), noise("rain", 3.0)])
    assert found.classes == ("bed", "go", "stop")
    assert class_of(found) == {"bed/s_0": "bed", "go/s_0": "go", "stop/s_0": "stop"}
    assert found.column == "word"
    assert found.notes == ("Utterances that have no label in the column word were left out: 1.",)


def test_classes_keep_the_recipes_order_and_utterances_are_sorted_by_id() -> None:
    utterances = [word("stop"), word("go", take=2), word("go", take=1)]
    found = chosen(keyword("corpus.classes=[stop, go]", "corpus.others=null", "corpus.silence=null"), utterances)
    assert found.classes == ("stop", "go")
    assert [u.id for u in found.utterances] == ["go/s_1", "go/s_2", "stop/s_0"]
    assert found.labels == ("go", "go", "stop")
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
        with pytest.raises(UserError, match=words):
            chosen(keyword(), utterances)
    with pytest.raises(UserError, match="There is one class, go, .*Add recordings of another class"):
        chosen(load_recipe("keyword_words", ["corpus.label=[word]"]), [word("go")])
    with pytest.raises(UserError, match=r"There is one class, go, .*Type -o 'corpus.classes=\[bed, go\]', or two"):
        chosen(load_recipe("keyword_words", ["corpus.label=[word]", "corpus.classes=[go]"]), [word("go"), word("bed")])


def test_a_recipe_of_other_classes_can_take_what_there_is() -> None:
    utterances = [word("up"), word("down")]
    with pytest.raises(UserError, match="no utterance of class go, stop, _silence_") as caught:
        chosen(keyword(), utterances)
    typed = re.findall(r"-o (corpus[\w.=]+)", str(caught.value))
    assert typed == ["corpus.classes=null", "corpus.others=null", "corpus.silence=null"]
    assert chosen(keyword(*typed), utterances).classes == ("down", "up")


def test_the_classes_that_are_there_can_be_typed() -> None:
    utterances = [word("yes"), word("no"), word("up")]
    recipe = ["corpus.label=[word]", "corpus.classes=['yes', 'no', stop]"]
    with pytest.raises(UserError, match="no utterance of class stop") as caught:
        chosen(load_recipe("keyword_words", recipe), utterances)
    command = str(caught.value).partition("Fix the recipe with ")[2].rstrip(".")
    flag, override = shlex.split(command)
    assert flag == "-o"
    assert chosen(load_recipe("keyword_words", [recipe[0], override]), utterances).classes == ("yes", "no")


def test_a_label_column_may_have_capitals() -> None:
    rows = [replace(word(name), labels={"Word": name}) for name in ("go", "bed")]
    assert chosen(load_recipe("keyword_words", ["corpus.label=[word]"]), rows).column == "Word"
    both = [replace(word(name), labels={"Word": name, "WORD": name}) for name in ("go", "bed")]
    with pytest.raises(UserError, match="found WORD, Word"):
        chosen(load_recipe("keyword_words", ["corpus.label=[word]"]), both)


def test_without_labels_it_is_said_where_they_are_written() -> None:
    with pytest.raises(UserError, match=r"found none. Lay the recordings of each class into a subfolder \(-c folder\)"):
        chosen(keyword(), [row("a"), row("b")])
    with pytest.raises(UserError, match="found mood. Type -o corpus.label=mood, or"):
        chosen(keyword(), [row("a", labels={"mood": "sad"})])


def test_what_the_demo_corpus_has_for_another_task_is_not_said() -> None:
    recipe = load_recipe("keyword_words", ["corpus.label=[word]"])
    utterances = [word("go"), word("stop"), row("a", labels={"mood": "sad"})]
    assert len(chosen(recipe, utterances).notes) == 1
    assert family_of(recipe).choose(replace(corpus(utterances), synthetic=True)).notes == ()


def test_the_first_label_column_that_there_is_is_learned() -> None:
    utterances = [row("a", labels={"tone": "low", "mood": "sad"}), row("b", labels={"tone": "high", "mood": "glad"})]
    recipe = load_recipe("keyword_words", ["corpus.label=[word, mood, tone]"])
    assert chosen(recipe, utterances).column == "mood"
    with pytest.raises(UserError, match="no label column word or label; found mood, tone"):
        chosen(load_recipe("keyword_words", ["corpus.label=[word, label]"]), utterances)


def test_words_are_classes_and_the_test_archives_folders_are_not() -> None:
    recipe = load_recipe("keyword_words", ["corpus.label=[word]"])
    clips = [word("go", split="train"), word("stop", split="train")]
    archive = [word("_unknown_", part=TEST_ARCHIVE), word("go", take=9, part=TEST_ARCHIVE)]
    assert chosen(recipe, [*clips, *archive]).classes == ("go", "stop")


def test_targets_are_the_numbers_of_classes_in_their_order() -> None:
    labels = ("stop", "go", "stop", "bed")
    dataset = small_dataset("abcd", [Fold("f", (0, 1), (2,), (3,))], classes=("stop", "bed", "go"), labels=labels)
    targets = class_targets(with_class_targets(dataset))
    assert (targets.classes, targets.numbers) == (("stop", "bed", "go"), (0, 2, 0, 1))
    assert targets.class_numbers([3, 0]) == [1, 0]
    assert targets.labels([0, 2, 1]) == {"stop": 2, "bed": 0, "go": 1}
    assert targets.labels([]) == {}
    assert targets.words([0]) is None
    assert targets.further_test_utterances(dataset.split.folds[0]) == ()
    assert targets.question() == []
    assert isinstance(targets, ClassTargets)
