"""Which trials a recipe's folds have: a list where one is asked for, drawn ones elsewhere; and the cohorts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Corpus, Utterance
from downstream.data.dataset import Dataset, development_part, parts_of_test
from downstream.data.splits import Fold, Split
from downstream.tasks.registry import family_of, load_recipe
from downstream.tasks.verification.family import SpeakerTargets
from downstream.tasks.verification.recipe import VerificationRecipe
from downstream.tasks.verification.trial_plan import (
    TrialsByUtterances,
    cohort_of,
    list_of,
    plan_cohorts,
    plan_trials,
)
from downstream.tasks.verification.trials import Trials, draw_trials
from upstream.encode import Item
from upstream.errors import UserError

# Six speakers s0 ... s5 with five utterances each, by turns: utterance 8 is the second one of s2.
UTTERANCES = tuple(
    Utterance(f"s{index % 6}/{index // 6}.wav", AudioCut(AudioFile(Path("unread"))), f"s{index % 6}")
    for index in range(30)
)
SPEAKERS = [utterance.speaker for utterance in UTTERANCES]
TRAIN, DEV, TEST = ([i for i in range(30) if i % 6 in own] for own in ({0, 1}, {2, 3}, {4, 5}))
SPLIT = Split((Fold("published", tuple(TRAIN), tuple(DEV), tuple(TEST)),), "by hand", ("a note",))
FOLDS = Split(
    tuple(Fold(f"fold{k}", *map(tuple, p)) for k, p in enumerate([(TRAIN, DEV, TEST), (DEV, TEST, TRAIN)])), "by hand"
)
LIST = "1 s4/0.wav s4/1.wav\n0 s4/0.wav s5/3.wav\n0 s5/3.wav s4/1.wav\n"


def corpus(folder: Path, trials: Path | None = None) -> Corpus:
    return Corpus("small", "Small", "none", UTTERANCES, str(folder), trials=trials)


def listed(path: Path, text: str = LIST) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def sv(*overrides: str) -> VerificationRecipe:
    return recipe("sv", *overrides)


def recipe(name: str, *overrides: str) -> VerificationRecipe:
    found = load_recipe(name, overrides)
    assert isinstance(found, VerificationRecipe)
    return found


def dataset(split: Split, whole: Corpus) -> Dataset:
    return Dataset(whole, "speaker", whole.utterances, items=(), split=split)


def planned(split: Split, whole: Corpus, wanted: VerificationRecipe) -> tuple[Split, TrialsByUtterances]:
    return plan_trials(dataset(split, whole), wanted)


# ---------------------------------------------------------------- which list


def test_the_corpuss_own_list_is_taken_where_there_is_one(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt")
    for wanted in (sv(), recipe("superb/asv")):
        assert list_of(corpus(tmp_path, path), wanted) == path
    assert list_of(corpus(tmp_path), sv()) is None
    assert list_of(corpus(tmp_path, path), sv("trials.list=drawn")) is None


def test_superb_without_its_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none was found beside Small in .*-o trials.list=FILE, or choose -d sv"):
        list_of(corpus(tmp_path), recipe("superb/asv"))
    assert list_of(corpus(tmp_path), recipe("superb/asv", "trials.list=drawn")) is None


def test_a_list_is_looked_for_in_the_corpus_and_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, data = tmp_path / "here", tmp_path / "data"
    monkeypatch.chdir(listed(here / "mine.txt").parent)
    wanted = sv("trials.list=mine.txt")
    assert list_of(corpus(data), wanted) == Path("mine.txt")
    inside = listed(data / "mine.txt")
    assert list_of(corpus(data), wanted) == inside
    assert list_of(corpus(data), sv(f"trials.list={here / 'mine.txt'}")) == here / "mine.txt"
    (data / "folder").mkdir()
    for name in ("folder", "other.txt"):
        with pytest.raises(UserError, match=f"no trial list {name}, neither in .*data nor here"):
            list_of(corpus(data), sv(f"trials.list={name}"))


# ---------------------------------------------------------------- the plan


def test_a_list_is_the_tests_and_development_is_drawn(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt")
    split, trials = planned(SPLIT, corpus(tmp_path, path), sv())
    (fold,) = split.folds
    assert fold.train == tuple(TRAIN)
    assert fold.test == (4, 10, 23)  # those of the list alone
    assert split.rule == "by hand"
    assert split.notes == ("a note", "7 test utterances of published are in no trial, and left out.")
    assert set(trials) == {fold.dev, fold.test}
    tested = trials[fold.test]
    assert tested.enrolment.tolist() == [4, 4, 23]
    assert tested.test.tolist() == [10, 23, 10]
    assert tested.target.tolist() == [True, False, False]
    developed = trials[fold.dev]
    assert developed.rule == draw_trials(SPEAKERS, [None] * 30, DEV, 40_000, 0).rule
    assert set(developed.utterances.tolist()) == set(fold.dev) == set(DEV)
    assert len(developed) == 40  # twice ten pairs of one speaker, and as many others


def test_what_the_trials_of_a_list_measure_is_said_in_notes(tmp_path: Path) -> None:
    alone, again = "1 s4/0.wav s4/0.wav\n", "0 s5/3.wav s4/0.wav\n"
    path = listed(tmp_path / "mine.txt", LIST + alone + again)
    split, trials = planned(SPLIT, corpus(tmp_path, path), sv())
    _, first, second, _ = split.notes
    assert first.startswith(
        "1 trial compares a recording with itself, of 5 of mine.txt (s4/0.wav and s4/0.wav first), which"
    )
    assert second.startswith("1 trial repeats an earlier one, of 5 of mine.txt (s5/3.wav and s4/0.wav first)")
    assert len(trials[(4, 10, 23)]) == 5, "they are scored as the list stands"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1 s4/0.wav s5/0.wav\n",
            "2 trials contradict the corpus, of 5 of mine.txt: .* is a target, .* speakers s4 and s5",
        ),
        (
            "0 s4/0.wav s4/2.wav\n",
            "2 trials .* s4/0.wav and s4/2.wav, is no target, .* the speaker s4 for both",
        ),
        ("0 s4/0.wav s4/0.wav\n", "2 trials contradict .* s4/0.wav and s4/0.wav, is no target"),
    ],
)
def test_a_list_that_contradicts_the_corpus_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = listed(tmp_path / "mine.txt", LIST + text * 2)
    with pytest.raises(UserError, match=message):
        planned(SPLIT, corpus(tmp_path, path), sv())


def test_a_list_whose_targets_are_all_of_one_recording_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path / "mine.txt", "1 s4/0.wav s4/0.wav\n1 s5/3.wav s5/3.wav\n0 s4/0.wav s5/3.wav\n")
    with pytest.raises(UserError, match="All 2 target trials of mine.txt compare a recording with itself"):
        planned(SPLIT, corpus(tmp_path, path), sv())


def test_one_recording_under_two_names_is_one_recording(tmp_path: Path) -> None:
    items = tuple(Item(u.id, u.audio, "same" if u.id in ("s4/0.wav", "s4/1.wav") else u.id, 1.0) for u in UTTERANCES)
    whole = replace(dataset(SPLIT, corpus(tmp_path)), items=items)
    split, _ = plan_trials(whole, sv())
    (note,) = [note for note in split.notes if "itself" in note]
    assert note.startswith("1 trial compares a recording with itself, of 40 of the draw (s4/0.wav and s4/1.wav first)")


def test_drawn_trials_are_among_each_parts_own_utterances() -> None:
    wanted = sv("trials.most=8", "trials.seed=3")
    split, trials = planned(SPLIT, corpus(Path("x")), wanted)
    (fold,) = split.folds
    for part, whole in ((fold.dev, DEV), (fold.test, TEST)):
        assert set(part) <= set(whole)
        own = trials[part]
        assert (len(own), int(own.target.sum())) == (8, 4)
        assert tuple(own.utterances.tolist()) == part
        for one, other, target in zip(own.enrolment.tolist(), own.test.tolist(), own.target.tolist(), strict=True):
            assert (SPEAKERS[one] == SPEAKERS[other]) == target
    again = planned(SPLIT, corpus(Path("x")), wanted)
    assert again[0] == split
    other, _ = planned(SPLIT, corpus(Path("x")), sv("trials.most=8", "trials.seed=4"))
    assert other.folds != split.folds


def test_where_development_is_the_test_its_trials_are_the_same(tmp_path: Path) -> None:
    """As in SUPERB."""
    fold = Fold("superb", tuple(TRAIN), tuple(TEST), tuple(TEST))
    path = listed(tmp_path / "trials.txt")
    split, trials = planned(Split((fold,), "by hand"), corpus(tmp_path, path), recipe("superb/asv"))
    assert split.folds[0].dev == split.folds[0].test == (4, 10, 23)
    assert list(trials) == [(4, 10, 23)]


def test_every_fold_has_drawn_trials_of_its_own() -> None:
    split, trials = planned(FOLDS, corpus(Path("x")), sv())
    assert split.folds == FOLDS.folds  # with so few utterances each is in some trial
    assert set(trials) == {tuple(DEV), tuple(TEST), tuple(TRAIN)}
    assert split.notes == ()


def test_a_list_for_several_folds_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt")
    with pytest.raises(UserError, match=r"one test set, and the split has 2 folds; .*-o trials.list=drawn"):
        planned(FOLDS, corpus(tmp_path, path), sv())
    planned(FOLDS, corpus(tmp_path, path), sv("trials.list=drawn"))


def test_a_list_with_utterances_that_are_not_tested_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt", LIST + "0 s4/0.wav s0/0.wav\n")
    with pytest.raises(UserError, match=r"1 of the 4 utterances in .*; the first is 's0/0.wav'"):
        planned(SPLIT, corpus(tmp_path, path), sv())


# ---------------------------------------------------------------- test parts

# The takes of s4 and s5 by turns: two takes of each speaker are close, three are far.
IN_PARTS = tuple(
    Utterance(u.id, u.audio, u.speaker, part=("far", "close")[int(u.id[3]) % 2] if u.speaker in {"s4", "s5"} else None)
    for u in UTTERANCES
)
CLOSE, FAR = ([i for i in TEST if IN_PARTS[i].part == part] for part in ("close", "far"))
TWO_PARTS = "split.test=[far, close]"
WITHIN = "1 s4/0.wav s4/2.wav\n0 s4/0.wav s5/4.wav\n1 s5/1.wav s5/3.wav\n0 s4/1.wav s5/3.wav\n"
CROSSING = "1 s4/0.wav s4/3.wav\n0 s5/2.wav s4/1.wav\n"


def corpus_in_parts(folder: Path, trials: Path | None = None) -> Corpus:
    return Corpus("small", "Small", "none", IN_PARTS, str(folder), trials=trials)


def ids(indices: Sequence[int]) -> list[str]:
    return [IN_PARTS[i].id for i in indices]


def test_every_test_part_has_drawn_trials_of_its_own() -> None:
    wanted = sv(TWO_PARTS)
    split, trials = planned(SPLIT, corpus_in_parts(Path("x")), wanted)
    (fold,) = split.folds
    assert set(trials) == {tuple(DEV), tuple(CLOSE), tuple(FAR)}
    assert fold.test == tuple(sorted(TEST))
    far, close = parts_of_test(dataset(split, corpus_in_parts(Path("x"))), fold, wanted.split.test_parts)
    assert (far.name, close.name) == ("far", "close")
    for part, whole in ((far, FAR), (close, CLOSE)):
        own = trials[part.utterances]
        assert own.utterances.tolist() == whole
        assert own.rule == draw_trials(SPEAKERS, [None] * 30, whole, 40_000, 0).rule
    assert (len(trials[tuple(FAR)]), len(trials[tuple(CLOSE)])) == (12, 4)  # 2 · 3 pairs of one speaker; 2 · 1


def test_a_part_without_trials_to_draw_is_refused_by_its_name() -> None:
    alone = tuple(Utterance(u.id, u.audio, u.speaker, part=u.speaker) for u in UTTERANCES)
    whole = Corpus("small", "Small", "none", alone, "x")
    with pytest.raises(UserError, match=r"The s5 part: Trials need two speakers"):
        planned(SPLIT, whole, sv("split.test=[s5, s4]"))


def test_of_a_list_every_part_has_the_trials_among_its_utterances(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt", WITHIN + CROSSING)
    wanted = sv(TWO_PARTS)
    split, trials = planned(SPLIT, corpus_in_parts(tmp_path, path), wanted)
    (fold,) = split.folds
    parts = parts_of_test(dataset(split, corpus_in_parts(tmp_path)), fold, wanted.split.test_parts)
    far, close = (trials[part.utterances] for part in parts)
    assert (ids(far.enrolment.tolist()), ids(far.test.tolist())) == (["s4/0.wav"] * 2, ["s4/2.wav", "s5/4.wav"])
    assert (ids(close.enrolment.tolist()), ids(close.test.tolist())) == (["s5/1.wav", "s4/1.wav"], ["s5/3.wav"] * 2)
    assert far.target.tolist() == close.target.tolist() == [True, False]
    assert far.rule.startswith("The list trials.txt as it stands: 6 trials, 3 of them targets (sha256 ")
    assert far.rule.endswith(". Of these, the 2 within far.")
    assert close.rule.endswith(". Of these, the 2 within close.")
    assert split.notes == (
        "a note",
        "2 trials of trials.txt are between test parts, and left out.",
        "4 test utterances of published are in no trial, and left out.",  # two of them in crossing trials alone
    )
    assert set(ids(fold.test)) == {"s4/0.wav", "s4/2.wav", "s5/4.wav", "s5/1.wav", "s5/3.wav", "s4/1.wav"}


def test_a_list_without_crossing_trials_has_no_note_on_them(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt", WITHIN)
    split, _ = planned(SPLIT, corpus_in_parts(tmp_path, path), sv(TWO_PARTS))
    assert split.notes == ("a note", "4 test utterances of published are in no trial, and left out.")


def test_a_list_is_whole_where_no_part_is_named(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt", WITHIN + CROSSING)
    split, trials = planned(SPLIT, corpus_in_parts(tmp_path, path), sv("split.test=[]"))
    assert len(trials[split.folds[0].test]) == 6


def test_a_part_of_which_the_list_has_no_target_or_no_non_target_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt", WITHIN.replace("1 s5/1.wav s5/3.wav\n", ""))
    with pytest.raises(UserError, match=r"has 1 trials within the test part close, 0 of them targets; .*list=drawn"):
        planned(SPLIT, corpus_in_parts(tmp_path, path), sv(TWO_PARTS))


@pytest.mark.parametrize("drawn", [True, False])
def test_where_development_is_a_test_of_several_parts_it_has_trials_too(tmp_path: Path, drawn: bool) -> None:
    """SUPERB's rule on a test set in parts: the step is chosen on the trials of all parts."""
    fold = Fold("superb", tuple(TRAIN), tuple(TEST), tuple(TEST))
    path = None if drawn else listed(tmp_path / "trials.txt", WITHIN + CROSSING)
    wanted = recipe("superb/asv", TWO_PARTS, *(["trials.list=drawn"] if drawn else []))
    whole = corpus_in_parts(tmp_path, path)
    split, trials = planned(Split((fold,), "by hand"), whole, wanted)
    (kept,) = split.folds
    assert kept.dev == kept.test
    parts = parts_of_test(dataset(split, whole), kept, wanted.split.test_parts)
    together = trials[development_part(kept).utterances]
    assert together.utterances.tolist() == list(kept.test)
    pairs = {pair for part in parts for pair in pairs_of(trials[part.utterances])}
    assert pairs_of(together) == pairs


def pairs_of(trials: Trials) -> set[tuple[int, int, bool]]:
    columns = (trials.enrolment.tolist(), trials.test.tolist(), trials.target.tolist())
    return set(zip(*columns, strict=True))


def test_a_verification_dataset_has_the_trials_of_every_part_and_their_rules_in_its_question(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt", WITHIN + CROSSING)
    unfinished = dataset(SPLIT, corpus_in_parts(tmp_path, path))
    finished = family_of(sv(TWO_PARTS)).finish(unfinished)
    assert isinstance(finished.targets, SpeakerTargets)
    assert finished.targets.question() == sorted(trials.rule for trials in finished.targets.trials.values())
    assert len(finished.targets.question()) == 3
    assert finished.split.notes[1] == "2 trials of trials.txt are between test parts, and left out."


# ---------------------------------------------------------------- cohorts


def test_scores_that_are_not_normalised_need_no_cohort() -> None:
    assert plan_cohorts(FOLDS, UTTERANCES, sv().trials) == {}


def test_every_fold_has_a_cohort_of_its_training_utterances() -> None:
    settings = sv("trials.normalisation=as_norm", "trials.cohort=4", "trials.top=2").trials
    cohorts = plan_cohorts(FOLDS, UTTERANCES, settings)
    assert list(cohorts) == ["fold0", "fold1"]
    for fold in FOLDS.folds:
        assert set(cohorts[fold.name]) <= set(fold.train)
        assert len(cohorts[fold.name]) == 4


def test_a_top_that_no_cohort_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"trials.top is 100.*-o trials.normalisation=s_norm"):
        plan_cohorts(FOLDS, UTTERANCES, sv("trials.normalisation=as_norm", "trials.cohort=4").trials)


@pytest.mark.parametrize("size", [1, 3, 4, 6, 9, 13, 30, 300])
def test_a_cohort_has_every_speaker_before_one_twice(size: int) -> None:
    train = [index for index in range(30) if index != 5]  # of s5 there are four
    cohort = cohort_of(train, UTTERANCES, sv(f"trials.cohort={size}").trials)
    assert len(set(cohort)) == len(cohort) == min(size, 29)
    assert set(cohort) <= set(train)
    assert list(cohort) == sorted(cohort)
    counts = Counter(SPEAKERS[index] for index in cohort)
    if size <= 24:
        assert len(counts) == min(size, 6)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_cohorts_utterances_are_drawn_by_its_seed() -> None:
    def drawn(seed: int) -> tuple[int, ...]:
        return cohort_of(range(30), UTTERANCES, sv("trials.cohort=6", f"trials.seed={seed}").trials)

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(10)}) > 5


def test_a_small_cohort_is_no_run_of_the_first_speakers() -> None:
    settings = [sv("trials.cohort=3", f"trials.seed={seed}").trials for seed in range(20)]
    drawn = {SPEAKERS[i] for own in settings for i in cohort_of(range(30), UTTERANCES, own)}
    assert len(drawn) == 6
