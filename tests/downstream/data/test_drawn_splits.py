"""Folds and parts that are drawn over clips: complete, balanced over classes, reproducible, and nothing torn apart."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Utterance
from downstream.data.drawn_splits import Clips, clip_folds, drawn_split
from downstream.data.shared_speakers import speaker_caveats
from downstream.data.splits import Split, speaker_folds
from upstream.errors import UserError


def clip(name: str, recording: str | None = None, **fields: object) -> Utterance:
    audio = AudioCut(AudioFile(Path(recording or name)))
    return Utterance(name, audio, **({"speaker": ""} | fields))  # type: ignore[arg-type]


def labelled(**counts: int) -> tuple[list[Utterance], list[str]]:
    """So many clips of every class, and their classes."""
    named = [(f"{name}/{number}.wav", name) for name, count in counts.items() for number in range(count)]
    return [clip(name) for name, _ in named], [label for _, label in named]


def clips(
    utterances: Sequence[Utterance], classes: Sequence[str] = (), audio: Sequence[str] = (), keep: bool = True
) -> Clips:
    return Clips(utterances, classes, audio or [u.id for u in utterances], keep)


def names(split: Split, utterances: Sequence[Utterance]) -> list[list[str]]:
    return [[utterances[i].id for i in part] for fold in split.folds for part in (fold.train, fold.dev, fold.test)]


def test_folds_test_every_clip_once_and_every_class_in_every_fold() -> None:
    utterances, classes = labelled(happy=20, sad=11, calm=5)
    split = clip_folds(clips(utterances, classes), 5, seed=0)
    for fold in split.folds:
        assert sorted(fold.train + fold.dev + fold.test) == list(range(36))
        for part in (fold.train, fold.dev, fold.test):
            assert {classes[i] for i in part} == {"happy", "sad", "calm"}
        assert 7 <= len(fold.test) <= 8
    assert sorted(i for fold in split.folds for i in fold.test) == list(range(36))
    assert split.rule.startswith(
        "5 folds over 36 clips dealt in turn class by class into 5 groups, in an order drawn with seed 0 (clips of one "
        "recording, group or known speaker, and the same audio twice, stay together)"
    )


def test_the_draw_follows_from_seed_and_names_alone() -> None:
    utterances, classes = labelled(happy=20, sad=20)
    order = random.Random(1).sample(range(40), 40)
    moved = [utterances[i] for i in order], [classes[i] for i in order]
    for divide in (lambda own, seed: clip_folds(own, 4, seed), drawn_split):
        one = names(divide(clips(utterances, classes), 0), utterances)
        assert names(divide(clips(*moved), 0), moved[0]) == one
        assert names(divide(clips(utterances, classes), 1), utterances) != one
    # Not the order of names: takes of one session often follow each other.
    assert one[2] != sorted(u.id for u in utterances)[: len(one[2])]


def test_the_same_audio_cuts_groups_and_known_speakers_stay_together() -> None:
    utterances = [
        *(clip(f"again{i}") for i in range(3)),
        *(clip(f"cut{i}", "long.wav") for i in range(3)),
        *(clip(f"group{i}", group="g") for i in range(3)),
        *(clip(f"ann{i}", speaker="ann") for i in range(3)),
        clip("linked", "long.wav", speaker="ann"),
        *(clip(f"alone{i}") for i in range(9)),
    ]
    audio = ["same" if u.id.startswith("again") else u.id for u in utterances]
    tests = [{utterances[i].id for i in fold.test} for fold in clip_folds(clips(utterances, (), audio), 4, 0).folds]
    for kind in (("again",), ("cut", "ann", "linked"), ("group",)):
        assert sum(any(name.startswith(kind) for name in part) for part in tests) == 1
    whoever = clip_folds(clips(utterances, (), audio, keep=False), 7, 0)
    ann = [fold.name for fold in whoever.folds for i in fold.test if utterances[i].speaker == "ann"]
    assert len(set(ann)) > 1
    assert "known speaker" not in whoever.rule


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, (1, 1, 1)), (9, (7, 1, 1)), (20, (16, 2, 2)), (100, (80, 10, 10)), (26, (20, 3, 3))]
)
def test_a_tenth_develops_and_a_tenth_is_tested(count: int, sizes: tuple[int, int, int]) -> None:
    utterances, _ = labelled(a=count)
    (fold,) = drawn_split(clips(utterances), 0).folds
    assert (len(fold.train), len(fold.dev), len(fold.test)) == sizes
    assert sorted(fold.train + fold.dev + fold.test) == list(range(count))


def test_every_class_of_three_clips_is_in_every_part_and_rarer_ones_are_pooled() -> None:
    utterances, classes = labelled(happy=30, rare=3, once=1, other=1, third=1)
    split = drawn_split(clips(utterances, classes), 0)
    (fold,) = split.folds
    for part in (fold.train, fold.dev, fold.test):
        found = Counter(classes[i] for i in part)
        assert found["rare"] == 1
        assert found["once"] + found["other"] + found["third"] == 1
    assert "a tenth of its clips of each class (1 or more) is for development" in split.rule


def test_a_corpus_of_known_speakers_without_parts_is_divided_by_speaker() -> None:
    utterances = [clip(f"{s}-{u}", speaker=f"s{s}") for s in range(12) for u in range(4)]
    split = drawn_split(clips(utterances), 0, fewest=2)
    (fold,) = split.folds
    parts = [{utterances[i].speaker for i in part} for part in (fold.train, fold.dev, fold.test)]
    assert [len(part) for part in parts] == [8, 2, 2]
    assert len(set.union(*parts)) == 12
    assert "a tenth of its speakers (2 or more)" in split.rule


@pytest.mark.parametrize(
    ("utterances", "folds", "said"),
    [
        (labelled(a=2)[0], 5, "5 folds over 2 clips cannot be made"),
        (labelled(a=4)[0], 5, "Choose -o split.folds=4"),
        (labelled(a=9)[0], 2, "Choose -o split.folds=3"),
        ([clip(f"{i}", "one.wav") for i in range(9)], 5, "5 folds over 1 clip cannot be made"),
        ([clip(f"{i}", speaker=f"{i % 2}") for i in range(9)], 5, "or choose -o split.rule=clip_folds"),
    ],
)
def test_too_few_clips_for_folds(utterances: list[Utterance], folds: int, said: str) -> None:
    with pytest.raises(UserError) as caught:
        clip_folds(clips(utterances), folds, 0)
    assert said in str(caught.value)


def test_too_few_speakers_for_parts_can_be_divided_by_clip() -> None:
    utterances = [clip(f"{i}", speaker=f"{i % 2}") for i in range(9)]
    with pytest.raises(
        UserError, match=r"take 3 speakers or more, and there are 2 speakers .*-o split.rule=clip_folds"
    ):
        drawn_split(clips(utterances), 0)
    with pytest.raises(UserError, match=r"take 6 speakers or more") as caught:
        drawn_split(clips(utterances), 0, fewest=2)
    assert "clip_folds" not in str(caught.value)
    assert len(clip_folds(clips(utterances, keep=False), 3, 0).folds) == 3


def test_speakers_of_one_recording_are_dealt_together() -> None:
    utterances = [clip(f"{s}-{u}", f"call{s // 2}.wav", speaker=f"s{s}") for s in range(8) for u in range(2)]
    split = speaker_folds(utterances, 4)
    for fold in split.folds:
        assert len({utterances[i].audio.recording.name for i in fold.test}) == 1
    assert "4 speaker groups (those heard in one recording together) dealt in turn" in split.rule
    apart = [replace(u, audio=AudioCut(AudioFile(Path(u.id)))) for u in utterances]
    assert "over 8 speakers dealt in turn" in speaker_folds(apart, 4).rule


def test_what_a_score_may_owe_to_shared_speakers_is_said() -> None:
    known = [clip(f"{s}-{u}", speaker=f"s{s}") for s in range(6) for u in range(3)]
    assert speaker_caveats(speaker_folds(known, 3), known) == []
    assert speaker_caveats(clip_folds(clips(known, keep=False), 3, 0), known) == [
        "6 speakers are in training and test: the score says nothing about speakers who are new."
    ]
    mixed = [replace(u, speaker="") if u.id.endswith("-0") else u for u in known]
    assert speaker_caveats(clip_folds(clips(mixed), 3, 0), mixed) == [
        "6 of 18 utterances name no speaker: training and test may share speakers, and the score may then be too high "
        "for new ones."
    ]
