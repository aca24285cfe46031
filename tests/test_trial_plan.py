"""Which trials a recipe's folds have: a list where one is asked for, drawn ones elsewhere; and the cohorts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from downstream.audio import AudioFile, Segment
from downstream.corpora.splits import Fold, Split
from downstream.corpora.table import Corpus, Utterance
from downstream.recipe import Recipe, load_recipe
from downstream.speakers.trial_plan import cohort_of, list_of, plan_cohorts, plan_trials
from downstream.speakers.trials import draw_trials
from upstream.errors import MendableError

# Six speakers s0 ... s5 with five utterances each, by turns: utterance 8 is the second one of s2.
UTTERANCES = tuple(
    Utterance(f"s{index % 6}/{index // 6}.wav", Segment(AudioFile(Path("unread"))), f"s{index % 6}")
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


def sv(*overrides: str) -> Recipe:
    return load_recipe("sv", overrides)


# ---------------------------------------------------------------- which list


def test_the_corpuss_own_list_is_taken_where_there_is_one(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt")
    for recipe in (sv(), load_recipe("superb/asv")):
        assert list_of(corpus(tmp_path, path), recipe) == path
    assert list_of(corpus(tmp_path), sv()) is None
    assert list_of(corpus(tmp_path, path), sv("trials.list=drawn")) is None


def test_superb_without_its_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MendableError, match=r"none was found beside Small in .*-o trials.list=FILE, or choose -d sv"):
        list_of(corpus(tmp_path), load_recipe("superb/asv"))
    assert list_of(corpus(tmp_path), load_recipe("superb/asv", ["trials.list=drawn"])) is None


def test_a_list_is_looked_for_in_the_corpus_and_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, data = tmp_path / "here", tmp_path / "data"
    monkeypatch.chdir(listed(here / "mine.txt").parent)
    recipe = sv("trials.list=mine.txt")
    assert list_of(corpus(data), recipe) == Path("mine.txt")
    inside = listed(data / "mine.txt")
    assert list_of(corpus(data), recipe) == inside
    assert list_of(corpus(data), sv(f"trials.list={here / 'mine.txt'}")) == here / "mine.txt"
    (data / "folder").mkdir()
    for name in ("folder", "other.txt"):
        with pytest.raises(MendableError, match=f"no trial list {name}, neither in .*data nor here"):
            list_of(corpus(data), sv(f"trials.list={name}"))


# ---------------------------------------------------------------- the plan


def test_a_list_is_the_tests_and_development_is_drawn(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt")
    split, trials = plan_trials(SPLIT, UTTERANCES, corpus(tmp_path, path), sv())
    (fold,) = split.folds
    assert fold.train == tuple(TRAIN)
    assert fold.test == (4, 10, 23)  # those of the list alone
    assert split.rule == "by hand"
    assert split.notes == ("a note", "7 test utterances of published are in no trial and were left out.")
    assert set(trials) == {fold.dev, fold.test}
    tested = trials[fold.test]
    assert tested.enrolment.tolist() == [4, 4, 23]
    assert tested.test.tolist() == [10, 23, 10]
    assert tested.target.tolist() == [True, False, False]
    developed = trials[fold.dev]
    assert developed.rule == draw_trials(SPEAKERS, [None] * 30, DEV, 40_000, 0).rule
    assert set(developed.utterances.tolist()) == set(fold.dev) == set(DEV)
    assert len(developed) == 40  # twice ten pairs of one speaker, and as many others


def test_drawn_trials_are_among_each_parts_own_utterances() -> None:
    recipe = sv("trials.most=8", "trials.seed=3")
    split, trials = plan_trials(SPLIT, UTTERANCES, corpus(Path("x")), recipe)
    (fold,) = split.folds
    for part, whole in ((fold.dev, DEV), (fold.test, TEST)):
        assert set(part) <= set(whole)
        own = trials[part]
        assert (len(own), int(own.target.sum())) == (8, 4)
        assert tuple(own.utterances.tolist()) == part
        for one, other, target in zip(own.enrolment.tolist(), own.test.tolist(), own.target.tolist(), strict=True):
            assert (SPEAKERS[one] == SPEAKERS[other]) == target
    again = plan_trials(SPLIT, UTTERANCES, corpus(Path("x")), recipe)
    assert again[0] == split
    other, _ = plan_trials(SPLIT, UTTERANCES, corpus(Path("x")), sv("trials.most=8", "trials.seed=4"))
    assert other.folds != split.folds


def test_where_development_is_the_test_its_trials_are_the_same(tmp_path: Path) -> None:
    """As in SUPERB."""
    fold = Fold("superb", tuple(TRAIN), tuple(TEST), tuple(TEST))
    path = listed(tmp_path / "trials.txt")
    split, trials = plan_trials(
        Split((fold,), "by hand"), UTTERANCES, corpus(tmp_path, path), load_recipe("superb/asv")
    )
    assert split.folds[0].dev == split.folds[0].test == (4, 10, 23)
    assert list(trials) == [(4, 10, 23)]


def test_every_fold_has_drawn_trials_of_its_own() -> None:
    split, trials = plan_trials(FOLDS, UTTERANCES, corpus(Path("x")), sv())
    assert split.folds == FOLDS.folds  # with so few utterances each is in some trial
    assert set(trials) == {tuple(DEV), tuple(TEST), tuple(TRAIN)}
    assert split.notes == ()


def test_a_list_for_several_folds_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt")
    with pytest.raises(MendableError, match=r"one test set, and the split has 2 folds; .*-o trials.list=drawn"):
        plan_trials(FOLDS, UTTERANCES, corpus(tmp_path, path), sv())
    plan_trials(FOLDS, UTTERANCES, corpus(tmp_path, path), sv("trials.list=drawn"))


def test_a_list_with_utterances_that_are_not_tested_is_refused(tmp_path: Path) -> None:
    path = listed(tmp_path / "trials.txt", LIST + "0 s4/0.wav s0/0.wav\n")
    with pytest.raises(MendableError, match=r"1 of the 4 utterances in .*; the first is 's0/0.wav'"):
        plan_trials(SPLIT, UTTERANCES, corpus(tmp_path, path), sv())


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
    with pytest.raises(MendableError, match=r"trials.top is 100.*-o trials.normalisation=s_norm"):
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
