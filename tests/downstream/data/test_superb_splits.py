"""SUPERB's divisions for keywords and verification, windows of noise, and published parts that a recipe names."""

from __future__ import annotations

import hashlib
import io
import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import pytest
import soundfile
import torch

from downstream.data.audio import AudioCut
from downstream.data.corpora.speech_commands import TEST_ARCHIVE
from downstream.data.corpus import Utterance
from downstream.data.noise import consecutive_windows, noise_window
from downstream.data.published_split import published_split
from downstream.data.shared_speakers import speaker_caveats
from downstream.data.splits import Fold, Split
from downstream.data.superb_splits import superb_asv, superb_ks, superb_part
from upstream.errors import UserError


@cache
def wav(seconds: float) -> bytes:
    """A recording whose samples say where they stand."""
    stream = io.BytesIO()
    soundfile.write(stream, np.arange(round(seconds * 16_000)) / 2**20, 16_000, format="WAV", subtype="FLOAT")
    return stream.getvalue()


@dataclass(frozen=True)
class InMemory:
    """A recording that lies on no disk."""

    name: str
    lasting: float = 0.1

    def open(self) -> io.BytesIO:
        return io.BytesIO(wav(self.lasting))


def row(name: str, speaker: str, **fields: object) -> Utterance:
    return Utterance(name, AudioCut(InMemory(name)), speaker, **fields)  # type: ignore[arg-type]


def noise(name: str, seconds: float, **fields: object) -> Utterance:
    utterance = row(name, "", speech=False, labels={"word": "_silence_"}, **fields)
    return replace(utterance, audio=AudioCut(InMemory(name, seconds)))


def ids(indices: tuple[int, ...], utterances: tuple[Utterance, ...]) -> list[str]:
    return [utterances[index].id for index in indices]


# ---------------------------------------------------------------- windows of noise


def test_a_window_is_a_part_of_its_recording() -> None:
    cut = noise_window(noise("rain", 3.0), 0.25, 1.0)
    assert (cut.id, cut.speaker, cut.speech, cut.labels) == ("rain@0.250000", "", False, {"word": "_silence_"})
    assert np.array_equal(cut.audio.load().numpy() * 2**20, np.arange(4_000, 20_000))
    part = replace(noise("rain", 3.0), audio=AudioCut(InMemory("rain", 3.0), start=1.0, duration=2.0))
    assert noise_window(part, 0.25, 0.5).audio.load()[0] * 2**20 == 20_000


@pytest.mark.parametrize("seconds", [3.0, 10.4, 19.99, 60.0, 95.2])
def test_consecutive_windows_of_the_three_splits_never_meet(seconds: float) -> None:
    made = consecutive_windows(noise("rain", seconds), 1.0)
    assert len(made) == len({one.id for one in made}) == int(seconds)
    starts = [one.audio.start for one in made]
    assert starts == list(range(int(seconds)))
    assert all(one.audio.duration == 1.0 for one in made)
    assert max(float(start) + 1.0 for start in starts if start is not None) <= seconds
    splits = [one.split for one in made]
    held = math.ceil(int(seconds) / 10)
    assert splits == ["train"] * (int(seconds) - 2 * held) + ["dev"] * held + ["test"] * held


def test_windows_of_other_lengths_and_of_parts_of_recordings() -> None:
    part = replace(noise("rain", 10.0), audio=AudioCut(InMemory("rain", 10.0), start=2.0, duration=3.1))
    made = consecutive_windows(part, 0.5)
    assert [one.audio.start for one in made] == [2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    samples = np.concatenate([one.audio.load().numpy() for one in made]) * 2**20
    assert np.array_equal(samples, np.arange(32_000, 80_000))


def test_a_recording_shorter_than_a_window_has_none() -> None:
    assert consecutive_windows(noise("click", 0.9), 1.0) == []


# ---------------------------------------------------------------- SUPERB's keywords

# Speakers by SUPERB's hash, the first two of each from section 17 of the protocol notes.
CANDIDATES = [
    "9e3779b1",
    "00000000",
    "6526afd1",
    "be1e0823",
    "78dde6c4",
    "3c6ef362",
    *(f"{n:08x}" for n in range(1, 200)),
]
BY_PART = {part: [s for s in CANDIDATES if superb_part(s) == part] for part in ("train", "dev", "discarded")}
WORDS = ["down", "up", "yes", "_unknown_"]
CLASSES = [*WORDS, "_silence_"]
NOISES = {"rain": 3.0, "tap": 1.0}


def keywords() -> tuple[Utterance, ...]:
    """Forty clips of train, dev and discarded speakers each, "yes" the most frequent; noise; the test archive."""
    spoken = [
        row(f"{word}/{speaker}_{take}", speaker, labels={"word": word}, part="main")
        for part in ("train", "dev", "discarded")
        for speaker in BY_PART[part][:4]
        for word, takes in zip(WORDS, (1, 2, 6, 1), strict=True)
        for take in range(takes)
    ]
    recordings = [noise(f"noise/{name}", seconds, part="main") for name, seconds in NOISES.items()]
    # The archive's speakers may be in any part by their hash; it is the test all the same.
    archive = [
        row(f"test_set/{word}/{part}", BY_PART[part][0], labels={"word": word}, part=TEST_ARCHIVE)
        for word, part in product(WORDS, BY_PART)
    ]
    silent = noise("test_set/_silence_/0", 1.0, part=TEST_ARCHIVE)
    return tuple(sorted([*spoken, *recordings, *archive, silent], key=lambda u: u.id))


def targets_of(utterances: tuple[Utterance, ...]) -> list[int]:
    return [CLASSES.index(utterance.labels["word"]) for utterance in utterances]


def divided(utterances: tuple[Utterance, ...], seconds: float = 1.0) -> tuple[tuple[Utterance, ...], Fold]:
    found, split = superb_ks(utterances, targets_of(utterances), seconds)
    (fold,) = split.folds
    return found, fold


def test_the_notes_speakers_are_in_their_parts() -> None:
    assert BY_PART["dev"][:2] == ["9e3779b1", "00000000"]
    assert BY_PART["discarded"][:2] == ["6526afd1", "be1e0823"]
    assert BY_PART["train"][:2] == ["78dde6c4", "3c6ef362"]
    # The corpus's own formula, as section 8 of the notes has it.
    for speaker in CANDIDATES:
        percent = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 2**27 * 100 / (2**27 - 1)
        part = "dev" if percent < 10 else "discarded" if percent < 20 else "train"
        assert superb_part(speaker) == part


def test_a_hash_divides_train_from_dev_and_the_archive_is_the_test() -> None:
    utterances = keywords()
    found, fold = divided(utterances)
    train = [u for u in utterances if u.speech and u.part == "main" and superb_part(u.speaker) == "train"]
    assert ids(fold.train, found)[: len(train)] == [u.id for u in train]
    assert ids(fold.train, found)[len(train) :] == ["noise/rain", "noise/tap"]  # whole: training cuts windows of them
    assert ids(fold.test, found) == [u.id for u in utterances if u.part == TEST_ARCHIVE]
    assert {found[i].speaker for i in fold.dev if found[i].speech} <= set(BY_PART["dev"])
    used = {found[i].speaker for i in (*fold.train, *fold.dev) if found[i].speech}
    assert not used & set(BY_PART["discarded"])


def test_the_development_draw_is_as_long_as_its_list() -> None:
    utterances = keywords()
    _, fold = divided(utterances)
    listed = sum(u.speech and u.part == "main" and superb_part(u.speaker) == "dev" for u in utterances) + len(NOISES)
    assert len(fold.dev) == listed == 42
    assert len(set(fold.dev)) < listed  # with replacement


def test_every_class_is_drawn_equally_often() -> None:
    """With more clips than above, of which "yes" is a hundred times as frequent as another class."""
    speakers = BY_PART["dev"]
    takes = {"down": 3, "up": 30, "yes": 300, "_unknown_": 60}
    clips = [
        row(f"{word}/{number}", speakers[number % len(speakers)], labels={"word": word}, part="main")
        for word, count in takes.items()
        for number in range(count)
    ]
    others = [u for u in keywords() if u.part == TEST_ARCHIVE or not u.speech or superb_part(u.speaker) == "train"]
    found, fold = divided((*clips, *others))
    counts = Counter(found[i].labels["word"] for i in fold.dev)
    assert sum(counts.values()) == 393 + 2
    assert all(50 < counts[name] < 110 for name in CLASSES), counts  # 79 each, deviation 8


def test_windows_of_noise_lie_inside_their_recordings_and_behind_all_utterances() -> None:
    utterances = keywords()
    found, fold = divided(utterances)
    assert found[: len(utterances)] == utterances
    added = found[len(utterances) :]
    assert added
    assert set(range(len(utterances), len(found))) <= set(fold.dev)
    for cut in added:
        recording = cut.id.rpartition("@")[0].removeprefix("noise/")
        assert cut.audio.start is not None
        assert 0.0 <= cut.audio.start <= NOISES[recording] - 1.0
        assert (cut.audio.duration, cut.speech, cut.labels["word"]) == (1.0, False, "_silence_")
        assert cut.audio.load().shape == (16_000,)
    assert not {found[i].id for i in fold.dev} & {"noise/rain", "noise/tap"}


def test_equal_windows_are_one_utterance() -> None:
    """A recording as long as the window has one window only, however often it is drawn."""
    short = tuple(u if u.id != "noise/rain" else noise("noise/rain", 1.0, part="main") for u in keywords())
    found, fold = divided(short)
    drawn = [found[i].id for i in fold.dev if not found[i].speech]
    assert len(drawn) > 2
    assert {u.id for u in found[len(short) :]} == set(drawn) <= {"noise/rain@0.000000", "noise/tap@0.000000"}
    assert len({u.id for u in found}) == len(found)


def test_windows_may_begin_anywhere_and_have_audio_of_their_own() -> None:
    long = tuple(u if u.id != "noise/rain" else noise("noise/rain", 1.001, part="main") for u in keywords())
    clips = [row(f"up/{n}", BY_PART["dev"][n % 3], labels={"word": "up"}, part="main") for n in range(2_000)]
    found, fold = divided((*long, *clips))
    cuts = [found[i].audio for i in set(fold.dev) if found[i].id.startswith("noise/rain@")]
    starts = {round((cut.start or 0.0) * 16_000) for cut in cuts}
    assert starts == set(range(17)), "1.001 s leave sixteen samples to spare, and both ends are places"
    assert len({cut.digest() for cut in cuts}) == len(cuts) == 17


def test_the_draw_is_the_same_every_time_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    assert divided(keywords()) == divided(keywords())
    assert torch.equal(torch.get_rng_state(), before)


def test_keywords_without_archive_or_noise_or_a_part_are_refused() -> None:
    utterances = keywords()
    for is_kept, words in (
        (lambda u: u.part != TEST_ARCHIVE, r"speech_commands_test_set_v0.01.*--data, or choose -d keyword"),
        (lambda u: u.speech or u.part == TEST_ARCHIVE, r"nothing to train on.*_background_noise_.*-d keyword"),
        (lambda u: u.part == TEST_ARCHIVE or superb_part(u.speaker) != "train", "nothing to train on"),
        (lambda u: u.part == TEST_ARCHIVE or not u.speech or superb_part(u.speaker) != "dev", "nothing to develop on"),
    ):
        with pytest.raises(UserError, match=words):
            divided(tuple(u for u in utterances if is_kept(u)))


# ---------------------------------------------------------------- SUPERB's verification


def voices(**speakers: list[str]) -> list[Utterance]:
    """Two utterances of every speaker of every part, the last speaker first."""
    return [
        row(f"{part}/{name}/{take}", name, split=part)
        for part, names in speakers.items()
        for name in reversed(names)
        for take in (1, 0)
    ]


def test_verification_develops_on_its_test() -> None:
    utterances = voices(train=["a", "b", "c"], test=["x", "y"])
    (fold,) = superb_asv(utterances, {}).folds
    assert fold.dev == fold.test
    assert [utterances[i].id for i in fold.test] == ["test/x/0", "test/x/1", "test/y/0", "test/y/1"]
    assert [utterances[i].speaker for i in fold.train] == ["a", "a", "b", "b", "c", "c"]
    assert not set(fold.train) & set(fold.test)
    assert "the score is optimistic" in superb_asv(utterances, {}).rule


def test_a_development_part_is_left_out() -> None:
    utterances = voices(train=["a"], dev=["d"], test=["x"])
    (fold,) = superb_asv(utterances, {}).folds
    assert {utterances[i].speaker for i in (*fold.train, *fold.dev, *fold.test)} == {"a", "x"}


def test_verification_refuses_missing_parts_and_speakers_on_two_sides() -> None:
    with pytest.raises(UserError, match="no train part.*choose -d sv"):
        superb_asv(voices(test=["x"]), {})
    with pytest.raises(UserError, match="no test part"):
        superb_asv(voices(train=["a"]), {})
    with pytest.raises(UserError, match=r"1 speaker is in more than one part of superb \(b\)"):
        superb_asv(voices(train=["a", "b"], test=["b"]), {})
    with pytest.raises(UserError, match="1 utterance names no speaker, mute"):
        superb_asv([*voices(train=["a"], test=["x"]), row("mute", "")], {})


# ---------------------------------------------------------------- published parts


def subsets() -> list[Utterance]:
    """LibriSpeech in small: two speakers in each of several parts."""
    names = ["train-clean-100", "train-other-500", "dev-clean", "dev-other", "test-clean", "test-other"]
    return [
        row(f"{name}-{speaker}-{take}", f"{name}-{speaker}", split=name.partition("-")[0], part=name)
        for name in names
        for speaker in (0, 1)
        for take in (0, 1)
    ]


def parts_of(split: Split, utterances: list[Utterance]) -> list[set[str | None]]:
    (fold,) = split.folds
    return [{utterances[i].part for i in part} for part in (fold.train, fold.dev, fold.test)]


def test_a_recipe_says_which_parts_are_used() -> None:
    utterances = subsets()
    wanted = {"train": ("train-clean-100",), "dev": ("dev-clean",), "test": ("test-other", "test-clean")}
    split = published_split(utterances, wanted)
    assert parts_of(split, utterances) == [{"train-clean-100"}, {"dev-clean"}, {"test-clean", "test-other"}]
    assert split.notes == ("8 utterances belong to no part of the corpus's split and were left out.",)
    everything = published_split(utterances, {"train": (), "dev": ()})
    assert everything == published_split(utterances)
    assert sum(len(part) for part in (everything.folds[0].train, everything.folds[0].test)) == 16
    assert everything.notes == ()
    asv = superb_asv(utterances, wanted | {"test": ("test-clean",)})
    assert parts_of(asv, utterances) == [{"train-clean-100"}, {"test-clean"}, {"test-clean"}]


def test_a_part_that_is_not_there_is_named_beside_those_that_are() -> None:
    wanted = {"train": ("train-clean-360",), "test": ("test-clean",)}
    for divide in (published_split, superb_asv):
        with pytest.raises(UserError) as refusal:
            divide(subsets(), wanted)
        assert "split.train is train-clean-360" in str(refusal.value)
        assert "-o split.train=[train-clean-100, train-other-500]" in str(refusal.value)


def test_names_of_another_corpuss_parts_choose_nothing() -> None:
    wanted = {"train": ("train-clean-100",), "test": ("test-clean",)}
    plain = [replace(utterance, part=None) for utterance in subsets()]
    other = [replace(utterance, part=utterance.split) for utterance in subsets()]
    for utterances in (plain, other):
        split = published_split(utterances, wanted)
        assert split.folds == published_split(utterances).folds
        assert "parts of another corpus (test-clean, train-clean-100)" in split.notes[-1]


def test_parts_share_speakers_only_where_the_recipe_says_so() -> None:
    utterances = [replace(u, speaker=u.speaker[-1]) for u in subsets()]
    with pytest.raises(UserError, match=r"2 speakers are in more than one part of published \(0, 1\)"):
        published_split(utterances)
    split = published_split(utterances, shared_speakers=True)
    alone = published_split(subsets())
    assert split.folds == alone.folds
    assert speaker_caveats(alone, subsets()) == []
    assert speaker_caveats(split, utterances) == [
        "2 speakers are in training and test: the score says nothing about speakers who are new."
    ]


def test_of_shared_speakers_every_tenth_utterance_develops() -> None:
    utterances = [
        row(f"{part}/{number:02d}", str(number % 3), split=part)
        for part, count in (("train", 21), ("test", 6))
        for number in reversed(range(count))
    ]
    split = published_split([*utterances, noise("rain", 1.0, split="train")], shared_speakers=True)
    (fold,) = split.folds
    assert [utterances[i].id for i in fold.dev] == ["train/00", "train/10", "train/20"]
    assert len(fold.train) == 18 + 1
    assert "every tenth of the training utterances in sorted order" in split.rule


def test_a_recording_of_which_two_parts_have_a_piece_is_refused_unless_it_is_noise() -> None:
    pieces = [
        replace(row(f"talk@{part}", part, split=part), audio=AudioCut(InMemory("talk"), start, 0.01))
        for part, start in (("train", 0.0), ("test", 0.05))
    ]
    others = voices(train=["a", "b"], dev=["d"], test=["x"])
    for shared_speakers in (False, True):
        with pytest.raises(UserError, match=r"1 recording is in more than one part of published \(talk\)"):
            published_split([*others, *pieces], shared_speakers=shared_speakers)
    published_split([*others, *(replace(piece, speech=False, speaker="") for piece in pieces)])


def test_without_the_corpuss_development_speakers_of_the_wanted_part_develop() -> None:
    utterances = [u for u in subsets() if u.split != "dev"]
    with pytest.raises(UserError, match=r"split.dev is dev-clean, and the corpus here has none"):
        published_split(utterances, {"train": ("train-other-500",), "dev": ("dev-clean",)})
    (fold,) = published_split(utterances, {"train": ("train-other-500",)}).folds
    assert {utterances[i].speaker for i in fold.dev} == {"train-other-500-0"}
    assert {utterances[i].speaker for i in fold.train} == {"train-other-500-1"}


# ---------------------------------------------------------------- published parts with noise


def words_and_noise(**noises: int) -> list[Utterance]:
    """Words of published parts, and so many recordings of noise in each of some parts."""
    spoken = voices(train=[f"t{number:02d}" for number in range(12)], dev=["d"], test=["x"])
    return spoken + [
        noise(f"{part}/noise/{n}", 1.0, split=part) for part, count in noises.items() for n in range(count)
    ]


def test_noise_needs_no_speaker_and_may_be_in_every_part() -> None:
    utterances = words_and_noise(train=3, dev=2, test=1)
    (fold,) = published_split(utterances).folds
    silent = [[i for i in part if not utterances[i].speech] for part in (fold.train, fold.dev, fold.test)]
    assert [len(part) for part in silent] == [3, 2, 1]
    assert sum(len(part) for part in (fold.train, fold.dev, fold.test)) == len(utterances)


def test_a_part_of_noise_alone_is_no_development_part() -> None:
    """Speakers are held out for it; the noise stays where it was."""
    utterances = [u for u in words_and_noise(train=3, dev=2, test=1) if not (u.speech and u.split == "dev")]
    split = published_split(utterances)
    (fold,) = split.folds
    assert "every tenth of the training speakers" in split.rule
    assert {utterances[i].speaker for i in fold.dev if utterances[i].speech} == {"t00", "t10"}
    silent = [[utterances[i].id for i in p if not utterances[i].speech] for p in (fold.train, fold.dev, fold.test)]
    assert silent == [[f"train/noise/{n}" for n in range(3)], ["dev/noise/0", "dev/noise/1"], ["test/noise/0"]]
    assert split.notes == ()


def test_noise_of_one_recording_is_divided_in_time_with_the_words() -> None:
    windows = consecutive_windows(noise("rain", 20.0), 1.0)
    utterances = voices(train=["a", "b"], dev=["d"], test=["x"]) + windows
    (fold,) = published_split(utterances).folds
    for part, held in ((fold.train, range(16)), (fold.dev, (16, 17)), (fold.test, (18, 19))):
        starts = {utterances[i].audio.start for i in part if not utterances[i].speech}
        assert starts == set(map(float, held))


def test_training_noise_alone_is_answered_with_a_sentence() -> None:
    with pytest.raises(UserError, match=r"publishes no train part but noise.*speaker_folds -o corpus\.silence=null\.$"):
        published_split([noise("rain", 1.0, split="train"), *voices(test=["x"])])


@pytest.mark.parametrize("name", ["train", "test"])
def test_no_choice_is_offered_where_it_cannot_help(name: str) -> None:
    """Of training or test nothing is there, so that no other part can be taken; training speakers can develop."""
    wanted = {"train": ("train-clean-100",), "dev": ("dev-clean",), "test": ("test-clean",)}
    with pytest.raises(UserError, match=r"the corpus here has none \(missing: .*\); complete the corpus\.$"):
        published_split([u for u in subsets() if u.split != name], wanted)
    without_dev = [u for u in subsets() if u.split != "dev"]
    with pytest.raises(UserError, match=r"complete the corpus, or choose -o split\.dev=\[\]\.$"):
        published_split(without_dev, wanted)
    assert published_split(without_dev, wanted | {"dev": ()}).folds[0].dev


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ({"train": ("train-clean-100", "train-clean-360"), "test": ("test-clean",)}, ("train", "dev", "test")),
        ({"train": ("train-clean-100",), "test": ("test-clean", "test-other")}, ("test-other", "train", "dev")),
    ],
)
def test_a_wanted_part_that_is_missing_is_refused(wanted: dict[str, tuple[str, ...]], kept: tuple[str, ...]) -> None:
    utterances = [u for u in subsets() if any(str(u.part).startswith(name) for name in kept)]
    with pytest.raises(UserError, match=r"complete the corpus, or choose -o split\."):
        published_split(utterances, wanted)


def test_short_noise_trains_and_noise_keeps_its_own_part() -> None:
    assert [one.split for one in consecutive_windows(noise("short", 2.0), 1.0)] == ["train", "train"]
    assert {one.split for one in consecutive_windows(noise("long", 20.0, split="test"), 1.0)} == {"test"}
