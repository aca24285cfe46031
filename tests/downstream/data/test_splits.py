"""Folds: disjoint, complete, balanced, independent of input order, and SUPERB's own where they can be."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch

from downstream.data import superb_emotion_split
from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Utterance
from downstream.data.published_split import published_split
from downstream.data.splits import Fold, Split, check_disjoint, speaker_folds
from downstream.data.superb_emotion_split import superb_draw, superb_er, superb_lists
from upstream.errors import UserError

# fold: N, train, dev, test, first train indices, first dev indices (section 7 of the protocol notes; s3prl's lists)
SUPERB_TABLE = {
    1: (4446, 3556, 890, 1085, [224, 1110, 4359, 1515, 2505], [158, 1584, 1948, 31, 3810]),
    2: (4508, 3606, 902, 1023, [2020, 562, 1771, 1243, 3815], [2492, 2070, 3487, 1412, 1353]),
    3: (4380, 3504, 876, 1151, [4004, 4247, 685, 3129, 2991], [727, 3355, 377, 4169, 126]),
    4: (4500, 3600, 900, 1031, [44, 3198, 3747, 771, 2711], [991, 4287, 1987, 1943, 1543]),
    5: (4290, 3432, 858, 1241, [4124, 1899, 1847, 3405, 2103], [1123, 2712, 2150, 1560, 1159]),
}
# first 16 digits of SHA-256 of the newline-joined dev ids of folds 1-5 in drawn order (section 17)
SUPERB_DEV_SHA256 = ["ee2c31f055da6757", "710de280810cc63d", "a47daeaa19f8da1e", "89665c43d436c878", "24f25e31c2bd7630"]


def row(name: str, speaker: str, **fields: str | None) -> Utterance:
    return Utterance(name, AudioCut(AudioFile(Path(f"{name}.wav"))), speaker, **fields)  # type: ignore[arg-type]


def corpus(speakers: int = 24, each: int = 3) -> list[Utterance]:
    """Speakers s00, s01, ... of alternating gender."""
    return [
        row(f"s{s:02d}-{u}", f"s{s:02d}", gender="female" if s % 2 else "male")
        for s in range(speakers)
        for u in range(each)
    ]


def sessions(count: int = 5, each: int = 10) -> list[Utterance]:
    """Two speakers in each of several groups."""
    return [
        row(f"Ses{k}{'FM'[u % 2]}_{u}", f"Ses{k}{'FM'[u % 2]}", group=f"Session{k}")
        for k in range(1, count + 1)
        for u in range(each)
    ]


def superb_sized() -> list[Utterance]:
    return [
        row(f"Ses{k}_{u:04d}", f"Ses{k}{'FM'[u % 2]}", group=f"Session{k}")
        for k, numbers in SUPERB_TABLE.items()
        for u in range(numbers[3])
    ]


def ids(split: Split, utterances: list[Utterance]) -> list[list[str]]:
    """The ids of every part of every fold, in order."""
    parts_of_folds = [part for fold in split.folds for part in (fold.train, fold.dev, fold.test)]
    return [[utterances[i].id for i in part] for part in parts_of_folds]


def shuffled(utterances: list[Utterance]) -> list[Utterance]:
    return random.Random(1).sample(utterances, len(utterances))


@pytest.mark.parametrize("utterances", [corpus(), corpus(7), sessions()], ids=["balanced", "odd", "sessions"])
def test_speaker_folds_are_disjoint_and_complete(utterances: list[Utterance]) -> None:
    split = speaker_folds(utterances)
    assert [fold.name for fold in split.folds] == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    for fold in split.folds:
        assert sorted(fold.train + fold.dev + fold.test) == list(range(len(utterances)))
        speakers = [{utterances[i].speaker for i in part} for part in (fold.train, fold.dev, fold.test)]
        assert all(speakers)
        assert all(not a & b for a, b in combinations(speakers, 2))
    for part in ("dev", "test"):
        tested = Counter(i for fold in split.folds for i in getattr(fold, part))
        assert tested == dict.fromkeys(range(len(utterances)), 1)
    for fold, following in zip(split.folds, split.folds[1:] + split.folds[:1], strict=True):
        assert fold.dev == following.test


def test_speaker_folds_balance_the_genders() -> None:
    # Every fifth speaker is a woman: dealt by id alone, five folds would put all of them into one.
    utterances = [row(f"s{s:02d}", f"s{s:02d}", gender="male" if s % 5 else "female") for s in range(25)]
    for fold in speaker_folds(utterances).folds:
        assert Counter(utterances[i].gender for i in fold.test) == {"female": 1, "male": 4}


def test_speaker_folds_do_not_depend_on_the_order_of_utterances() -> None:
    for utterances in (corpus(), sessions()):
        again = shuffled(utterances)
        assert again != utterances
        assert ids(speaker_folds(again), again) == ids(speaker_folds(utterances), utterances)


def test_speaker_folds_state_their_rule() -> None:
    assert speaker_folds(corpus(), 4).rule == (
        "4 speaker-disjoint folds over 24 speakers dealt in turn, in the order of gender and id, into 4 groups: "
        "fold k tests group k, develops on group k + 1 (cyclically) and trains on the rest."
    )
    assert "the published groups Session1, Session2" in speaker_folds(sessions()).rule


def test_sessions_are_the_folds_where_there_are_sessions() -> None:
    utterances = sessions(4)
    for k, fold in enumerate(speaker_folds(utterances, None).folds, start=1):
        assert {utterances[i].group for i in fold.test} == {f"Session{k}"}
    with pytest.raises(UserError, match=r"4 published groups \(Session1, .*\) and 5 folds were asked for; ask for"):
        speaker_folds(utterances, 5)
    assert len(speaker_folds(corpus(), None).folds) == 5


def test_speaker_folds_refuse_what_cannot_be_split() -> None:
    with pytest.raises(UserError, match="5 folds over 4 speakers"):
        speaker_folds(corpus(4))
    with pytest.raises(UserError, match="2 folds over 24 speakers"):
        speaker_folds(corpus(), 2)
    with pytest.raises(UserError, match="2 folds over 2 published groups"):
        speaker_folds(sessions(2), None)
    with pytest.raises(UserError, match="0 speakers"):
        speaker_folds([])
    with pytest.raises(UserError, match="1 utterance names no speaker, mute first"):
        speaker_folds([*corpus(), row("mute", "")])


def test_a_speaker_in_two_groups_is_refused() -> None:
    utterances = [*sessions(), row("x", "Ses1F", group="Session2")]
    with pytest.raises(UserError, match="1 speaker is in more than one part of fold1"):
        speaker_folds(utterances)
    with pytest.raises(UserError, match="1 speaker is"):
        superb_er(utterances)


def test_a_speaker_in_two_unicode_forms_is_one() -> None:
    """A file name of macOS and a table of Windows write the same name in different code points."""
    utterances = parts(train=["Zo\u00eb", "b", "c"], dev=["d"], test=["Zoe\u0308", "e"])
    with pytest.raises(UserError, match="1 speaker is in more than one part of published \\(Zo\u00eb\\)"):
        published_split(utterances)


def test_check_disjoint_sees_speakers_and_groups() -> None:
    utterances = [row("a", "s1", group="g"), row("b", "s2", group="g"), row("c", "s3", group="h"), row("d", "s1")]
    check_disjoint(Fold("whole", (0, 1), (2,), ()), utterances)
    with pytest.raises(UserError, match=r"1 group is in more than one part of torn \(g\)"):
        check_disjoint(Fold("torn", (0,), (2,), (1,)), utterances)
    with pytest.raises(UserError, match=r"1 speaker is in more than one part of torn \(s1\)"):
        check_disjoint(Fold("torn", (0,), (3,), (2,)), utterances)


# SUPERB


@pytest.mark.parametrize("fold", SUPERB_TABLE)
def test_superb_draw_is_that_of_s3prl(fold: int) -> None:
    count, trained, developed, _, first_train, first_dev = SUPERB_TABLE[fold]
    state = torch.get_rng_state()
    train, dev = superb_draw(count)
    assert torch.equal(torch.get_rng_state(), state)
    assert (len(train), len(dev)) == (trained, developed)
    assert (train[:5], dev[:5]) == (first_train, first_dev)
    assert sorted(train + dev) == list(range(count))


def test_superb_folds_have_the_published_sizes_and_indices() -> None:
    utterances = superb_sized()
    order = [u.id for u in utterances]
    split = superb_er(shuffled(utterances), order)
    mixed = shuffled(utterances)
    assert split.notes == ()
    for fold, (count, trained, developed, tested, first_train, first_dev) in zip(
        split.folds, SUPERB_TABLE.values(), strict=True
    ):
        assert (len(fold.train), len(fold.dev), len(fold.test)) == (trained, developed, tested)
        session = {mixed[i].group for i in fold.test}
        others = [u.id for u in utterances if u.group not in session]
        assert len(session) == 1
        assert len(others) == count
        assert [mixed[i].id for i in fold.train[:5]] == [others[i] for i in first_train]
        assert [mixed[i].id for i in fold.dev[:5]] == [others[i] for i in first_dev]
        assert [mixed[i].id for i in fold.test] == [u.id for u in utterances if u.group in session]


def test_superb_without_lists_sorts_by_id_and_says_so() -> None:
    utterances = sessions()
    split = superb_er(utterances)
    assert "not over SUPERB's published session lists" in split.notes[0]
    assert "WAVPROBE_IEMOCAP_LISTS" in split.notes[0]
    again = shuffled(utterances)
    assert ids(superb_er(again), again) == ids(split, utterances)
    assert ids(superb_er(utterances, sorted(u.id for u in utterances)), utterances) == ids(split, utterances)
    assert "train and dev share speakers" in split.rule


def test_superb_on_speakers_without_sessions() -> None:
    utterances = corpus()
    split = superb_er(utterances)
    for fold, plain in zip(split.folds, speaker_folds(utterances).folds, strict=True):
        assert set(fold.test) == set(plain.test)
        assert len(fold.train) == int(0.8 * (len(utterances) - len(fold.test)))
        assert sorted(fold.train + fold.dev + fold.test) == list(range(len(utterances)))


def test_superb_on_a_part_of_the_corpus_and_on_another() -> None:
    utterances = sessions()
    order = [u.id for u in utterances]
    assert "Only 49 of the 50 listed" in superb_er(utterances[1:], order).notes[0]
    with pytest.raises(UserError, match="1 utterance is not in SUPERB's session lists"):
        superb_er(utterances, order[1:])


@pytest.mark.parametrize("count", [3, 4, 6])
def test_superb_with_other_sessions_than_its_five_says_what_takes_them(count: int) -> None:
    with pytest.raises(UserError, match=rf"the corpus here has {count} \(.*choose -o split\.rule=speaker_folds"):
        superb_er(sessions(count))
    assert len(speaker_folds(sessions(count), None).folds) == count


def write_lists(folder: Path, utterances: list[Utterance]) -> None:
    for k in range(1, 6):
        meta = [
            {"path": f"Session{k}/sentences/wav/{u.id[:-2]}/{u.id}.wav", "label": "neu", "speaker": u.speaker}
            for u in utterances
            if u.group == f"Session{k}"
        ]
        (folder / f"Session{k}").mkdir()
        text = json.dumps({"labels": {"neu": 0}, "meta_data": meta})
        (folder / f"Session{k}" / "test_meta_data.json").write_text(text)


def test_superb_lists_are_read_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = list(reversed(sessions()))
    write_lists(tmp_path, utterances)
    with pytest.raises(UserError, match="are not those of SUPERB"):
        superb_lists(tmp_path)
    order = [u.id for k in range(1, 6) for u in utterances if u.group == f"Session{k}"]
    monkeypatch.setattr(
        superb_emotion_split, "LISTS_SHA256", hashlib.sha256("\n".join(order).encode()).hexdigest()[:16]
    )
    assert superb_lists(tmp_path) == tuple(order)
    monkeypatch.delenv("WAVPROBE_IEMOCAP_LISTS", raising=False)
    assert superb_lists() is None
    monkeypatch.setenv("WAVPROBE_IEMOCAP_LISTS", str(tmp_path))
    assert superb_lists() == tuple(order)
    (tmp_path / "Session4/test_meta_data.json").write_text('{"meta_data": [{}]}')
    with pytest.raises(UserError, match="is not a session list"):
        superb_lists()
    (tmp_path / "Session3/test_meta_data.json").unlink()
    with pytest.raises(UserError, match=r"Cannot read the session list .*Session3"):
        superb_lists()


@pytest.mark.skipif(not os.environ.get("WAVPROBE_IEMOCAP_LISTS"), reason="SUPERB's session lists are not here")
def test_superb_development_parts_are_the_published_ones() -> None:
    order = superb_lists()
    assert order is not None
    utterances = [row(name, f"{name[:5]}{name[-4]}", group=f"Session{name[4]}") for name in order]
    for fold, digest in zip(superb_er(utterances, order).folds, SUPERB_DEV_SHA256, strict=True):
        dev = "\n".join(utterances[i].id for i in fold.dev)
        assert hashlib.sha256(dev.encode()).hexdigest()[:16] == digest


# Published parts


def parts(**speakers: list[str]) -> list[Utterance]:
    """Two utterances of every speaker of every part."""
    return [
        row(f"{part}-{name}-{u}", name, split=part)
        for part, names in speakers.items()
        for name in names
        for u in (0, 1)
    ]


def test_published_parts_are_taken_as_they_are() -> None:
    utterances = [*parts(train=["a", "b"], dev=["c"], test=["d"]), row("noise", "")]
    split = published_split(utterances)
    (fold,) = split.folds
    assert fold == Fold("published", (0, 1, 2, 3), (4, 5), (6, 7))
    assert split.notes == ("1 utterance belongs to no part of the corpus's split and was left out.",)
    assert split.rule == "The corpus's own train, dev and test parts."


def test_published_without_dev_holds_out_every_tenth_speaker() -> None:
    names = [f"s{k:02d}" for k in range(21)]
    utterances = shuffled(parts(train=names, test=["t"]))
    split = published_split(utterances)
    (fold,) = split.folds
    assert {utterances[i].speaker for i in fold.dev} == {"s00", "s10", "s20"}
    assert {utterances[i].speaker for i in fold.train} == set(names) - {"s00", "s10", "s20"}
    assert sorted(fold.train + fold.dev + fold.test) == list(range(len(utterances)))
    assert "every tenth of the training speakers" in split.rule
    (small,) = published_split(parts(train=["a", "b"], test=["t"])).folds
    assert (len(small.train), len(small.dev)) == (2, 2)


def test_published_refuses_crossing_and_missing() -> None:
    with pytest.raises(UserError, match=r"1 speaker is in more than one part of published \(b\)"):
        published_split(parts(train=["a", "b"], dev=["c"], test=["b"]))
    with pytest.raises(UserError, match="no test part"):
        published_split(parts(train=["a", "b"]))
    with pytest.raises(UserError, match="no train part"):
        published_split(corpus())
    with pytest.raises(UserError, match="one speaker, a"):
        published_split(parts(train=["a"], test=["t"]))
