"""Trials: lists as the field spells them, draws by a stated rule, and scores worked by hand."""

from __future__ import annotations

import csv
import hashlib
import math
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from places import SHARED_DATA

from downstream.tasks.verification import trial_scores as module
from downstream.tasks.verification.items import read_trial_items, trial_items, trial_lines
from downstream.tasks.verification.trial_scores import normalise_scores, score_trials
from downstream.tasks.verification.trials import (
    Trials,
    draw_trials,
    read_trials,
)
from upstream.errors import UserError

INDEX = {"a/1.wav": 4, "b/1.wav": 1, "b/2": 7}


def listed(folder: Path, text: str) -> Path:
    path = folder / "list.txt"
    path.write_text(text)
    return path


def made(pairs: list[tuple[int, int]], target: list[bool] | None = None) -> Trials:
    enrolment, test = torch.tensor(pairs).T
    return Trials(enrolment, test, torch.tensor(target or [True] * len(pairs)), "made by hand")


# ------------------------------------------------------------ lists


@pytest.mark.parametrize(
    "text",
    [
        "1 b/1.wav b/2.flac\n0 a/1.wav b/1.wav\n",
        "b/1.wav b/2.flac target\na/1.wav b/1.wav nontarget\n",
        "\r\n1  b/1.wav\tb/2.flac\r\n\r\n0 a/1.wav b/1.wav",  # blank lines, other white space, no last line end
        "\ufeff1 b/1 b/2.wav\n0 a/1.flac b/1\n",  # a byte order mark; suffixes left out and changed
        "1\tb/1\tb/2\r0\ta/1.wav\t b/1\r",  # tabs, old line ends, a blank beside a tab
    ],
)
def test_both_spellings_are_read_in_order(text: str, tmp_path: Path) -> None:
    path = listed(tmp_path, text)
    trials = read_trials(path, INDEX)
    assert len(trials) == 2
    assert trials.enrolment.tolist() == [1, 4]
    assert trials.test.tolist() == [7, 1]
    assert trials.target.tolist() == [True, False]
    assert trials.utterances.tolist() == [1, 4, 7]
    assert (trials.enrolment.dtype, trials.target.dtype) == (torch.int64, torch.bool)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert trials.rule == f"The list list.txt as it stands: 2 trials, 1 of them targets (sha256 {digest})."


def test_an_id_as_it_stands_goes_before_one_with_another_suffix(tmp_path: Path) -> None:
    index = {"x.wav": 0, "x": 1, "x.flac": 2, "y": 3}
    trials = read_trials(listed(tmp_path, "1 x x.wav\n0 x.flac y.flac\n"), index)
    assert (trials.enrolment.tolist(), trials.test.tolist()) == ([1, 2], [0, 3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 trials, 0 of them targets"),
        ("\n \n", "has 0 trials, 0 of them targets"),
        ("1 b/1 b/2\n1 b/2 b/1\n", "has 2 trials, 2 of them targets"),
        ("b/1 b/2 nontarget\n", "has 1 trial, 0 of them targets"),
        ("path,speaker\n", "Line 1 of .*list.txt is 'path,speaker'; expected .*target.* or .*1|0"),
        (
            "1 b/1 b/2\n\n0 a/1\n",
            "Line 3 of .*list.txt is '0 a/1'; expected '1.0 ENROLMENT TEST' as in the lines before",
        ),
        ("1 b/1 b/2\n2 a/1 b/1\n", "Line 2 of .* is '2 a/1 b/1'"),
        ("1 b/1 b/2\na/1 b/1 nontarget\n", "Line 2 of .* but its first line has the format '1.0 ENROLMENT TEST'"),
        ("b/1 b/2 target\n0 a/1 b/1\n", "Line 2 of .* but its first line has the format 'ENROLMENT TEST target"),
        (
            "1 b/1 b/2\n0 c/1 b/1\n0 c/1 c/2.wav",
            "2 of the 4 utterances in .* not in the test part of the corpus, where ids are written as 'a/1.wav'; "
            "the first is 'c/1'",
        ),
    ],
)
def test_what_is_wrong_with_a_list_is_said(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_trials(listed(tmp_path, text), INDEX)


def test_an_empty_corpus_and_a_file_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not in the test part of the corpus, which is empty; the first is 'x'"):
        read_trials(listed(tmp_path, "1 x y\n0 x z\n"), {})
    path = tmp_path / "audio.flac"
    path.write_bytes(b"fLaC\xff\xfe")
    with pytest.raises(UserError, match="line 1: the byte 0xff is not UTF-8"):
        read_trials(path, INDEX)


def test_ids_with_blanks_are_read_between_tabs_or_quoted_and_written_so_that_they_are_read_again(
    tmp_path: Path,
) -> None:
    ids = ["s 1/a.wav", "s_1/a.wav", "s 2/é.wav"]
    index = {name: number for number, name in enumerate(ids)}
    for text in (
        "1\ts 1/a\ts_1/a.wav\n0\ts 2/e\u0301.flac\ts 1/a.wav",
        "1 s%201/a s_1/a.wav\n0 s%202/é.wav s%201/a.wav",
        "s 1/a\ts_1/a\ttarget\ns 2/é\ts 1/a\tnontarget",
    ):
        trials = read_trials(listed(tmp_path, text), index)
        assert (trials.enrolment.tolist(), trials.test.tolist()) == ([0, 2], [1, 0])
    written = trial_lines(trial_items(trials, torch.tensor([0.5, -0.5]), ids, ["s 1", "s_1", "s 2"]))
    assert written == "s%201/a.wav s_1/a.wav 0.5 target s%201 s_1\ns%202/é.wav s%201/a.wav -0.5 nontarget s%202 s%201\n"
    for text in ("1 s 1/a s_1/a\n0 s 2/é s 1/a\n", "s 1/a s_1/a target\n", "1 s%201/a s_1/a\n0 s 2/é s_1/a\n"):
        with pytest.raises(UserError, match="ids with blanks cannot be told apart. Separate the fields by tabs, or"):
            read_trials(listed(tmp_path, text), index)


def test_a_long_list_is_read_in_no_time(tmp_path: Path) -> None:
    """A tenth of a million lines; a million take ten times as long."""
    lines = [
        f"{i % 2} id{i % 40:05}/video/{i % 4000:05}.wav id{i % 37:05}/video/{i % 3001:05}.wav" for i in range(10**5)
    ]
    index = {name: number for number, name in enumerate({part for line in lines for part in line.split()[1:]})}
    path = listed(tmp_path, "\n".join(lines))
    began = time.process_time()
    assert len(read_trials(path, index)) == 10**5
    assert time.process_time() - began < 2.0


def test_the_published_list_of_speechocean762() -> None:
    folder = SHARED_DATA / "speechocean762"
    if not (folder / "trials_test.txt").is_file():
        pytest.skip("speechocean762 is not here")
    with (folder / "manifest.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    trials = read_trials(folder / "trials_test.txt", {row["path"]: number for number, row in enumerate(rows)})
    assert len(trials) == 7560
    for first, second, target in zip(
        trials.enrolment.tolist(), trials.test.tolist(), trials.target.tolist(), strict=True
    ):
        assert (rows[first]["speaker"] == rows[second]["speaker"]) == target
    assert {rows[which]["split"] for which in trials.utterances.tolist()} == {"test"}


# ------------------------------------------------------------ draws

# Four women and two men with one to six utterances each, in mixed order.
SPEAKERS = [f"s{number}" for number in np.random.default_rng(0).permutation(np.repeat(range(6), [1, 2, 3, 4, 5, 6]))]
GENDERS = ["female" if name in {"s0", "s2", "s3", "s5"} else "male" for name in SPEAKERS]
EVERYTHING = range(len(SPEAKERS))


def pairs_of(trials: Trials, target: bool) -> list[tuple[int, int]]:
    chosen = trials.target == target
    return list(zip(trials.enrolment[chosen].tolist(), trials.test[chosen].tolist(), strict=True))


def same_speaker(used: range | list[int]) -> set[tuple[int, int]]:
    return {pair for pair in combinations(sorted(used), 2) if SPEAKERS[pair[0]] == SPEAKERS[pair[1]]}


def test_all_pairs_of_a_speaker_and_as_many_others() -> None:
    trials = draw_trials(SPEAKERS, GENDERS, EVERYTHING, most=1000, seed=0)
    targets, others = pairs_of(trials, True), pairs_of(trials, False)
    assert set(targets) == same_speaker(EVERYTHING)
    assert len(targets) == 35 == len(set(others)) == len(others)
    assert all(SPEAKERS[a] != SPEAKERS[b] and GENDERS[a] == GENDERS[b] for a, b in others)
    both = list(zip(trials.enrolment.tolist(), trials.test.tolist(), strict=True))
    assert both == sorted(both)
    assert all(first < second for first, second in both)
    assert "all 35 pairs of one speaker's" in trials.rule
    assert "35 of the 77 pairs of different speakers of the same gender" in trials.rule
    assert "seed 0" in trials.rule


def test_no_more_than_asked_for_and_every_pair_can_be_drawn() -> None:
    targets, others = set(), set()
    for seed in range(60):
        trials = draw_trials(SPEAKERS, GENDERS, EVERYTHING, most=21, seed=seed)
        assert int(trials.target.sum()) == 10
        assert len({*pairs_of(trials, True), *pairs_of(trials, False)}) == len(trials) == 20
        targets |= set(pairs_of(trials, True))
        others |= set(pairs_of(trials, False))
    assert targets == same_speaker(EVERYTHING)
    assert others == {
        (a, b) for a, b in combinations(EVERYTHING, 2) if SPEAKERS[a] != SPEAKERS[b] and GENDERS[a] == GENDERS[b]
    }


def test_the_draw_follows_the_seed_and_not_the_order_of_utterances() -> None:
    used = [2, 3, 5, 7, 8, 9, 11, 13, 14, 16, 17, 20]
    first = draw_trials(SPEAKERS, GENDERS, used, most=10, seed=1)
    again = draw_trials(SPEAKERS, GENDERS, [*used[::-1], 5, 5], most=10, seed=1)
    other = draw_trials(SPEAKERS, GENDERS, used, most=10, seed=2)
    assert set(first.utterances.tolist()) <= set(used)
    for column in ("enrolment", "test", "target"):
        assert torch.equal(getattr(first, column), getattr(again, column))
    assert not torch.equal(first.enrolment, other.enrolment) or not torch.equal(first.test, other.test)


def test_gender_is_left_out_unless_everybody_has_one() -> None:
    unknown = list(GENDERS)
    unknown[SPEAKERS.index("s0")] = None
    trials = draw_trials(SPEAKERS, unknown, EVERYTHING, most=1000, seed=0)
    assert any(GENDERS[a] != GENDERS[b] for a, b in pairs_of(trials, False))
    assert "pairs of different speakers as non-targets" in trials.rule
    without = [which for which in EVERYTHING if SPEAKERS[which] != "s0"]  # of those who are left, everybody has one
    assert all(GENDERS[a] == GENDERS[b] for a, b in pairs_of(draw_trials(SPEAKERS, unknown, without, 1000, 0), False))


def test_a_woman_and_a_man_are_still_different_speakers() -> None:
    trials = draw_trials(["a", "a", "b"], ["female", "female", "male"], [0, 1, 2], most=10, seed=0)
    assert pairs_of(trials, True) == [(0, 1)]
    assert pairs_of(trials, False) in ([(0, 2)], [(1, 2)])
    assert "of different genders" in trials.rule


def test_fewer_non_targets_where_there_are_no_more() -> None:
    trials = draw_trials(["a"] * 9 + ["b"], [None] * 10, range(10), most=1000, seed=0)
    assert (len(pairs_of(trials, True)), len(pairs_of(trials, False))) == (36, 9)
    assert "all 9 pairs of different speakers" in trials.rule


def test_a_large_corpus_is_drawn_from_without_listing_its_pairs() -> None:
    """150,000 utterances of 1,200 speakers, as in VoxCeleb1: ten thousand million pairs."""
    speakers = [str(number % 1200) for number in range(150_000)]
    began = time.process_time()
    trials = draw_trials(speakers, [None] * len(speakers), range(len(speakers)), most=40_000, seed=0)
    assert time.process_time() - began < 5.0
    same = trials.enrolment % 1200 == trials.test % 1200
    assert torch.equal(same, trials.target)
    assert len({*pairs_of(trials, True), *pairs_of(trials, False)}) == len(trials) == 40_000


@pytest.mark.parametrize(
    ("speakers", "most", "message"),
    [
        (["a", "a", "a"], 10, "3 utterances of one speaker"),
        (["a", "b", "c"], 10, "of 3 speakers, none of whom has two"),
        ([], 10, "0 utterances"),
        (["a", "a", "b"], 1, "1 trials are too few"),
    ],
)
def test_what_cannot_be_drawn_is_said(speakers: list[str], most: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw_trials(speakers, [None] * len(speakers), range(len(speakers)), most, seed=0)


# ------------------------------------------------------------ scores


def test_cosines_by_hand() -> None:
    """Utterances 10, 20 and 30 lie in rows 2, 0 and 1; lengths of embeddings do not matter."""
    embeddings = torch.tensor([[3.0, 4.0], [-6.0, -8.0], [2.0, 0.0]])
    trials = made([(10, 20), (20, 30), (20, 20), (30, 10)])
    expected = torch.tensor([0.6, -1.0, 1.0, -0.6])
    scores = score_trials(embeddings, {10: 2, 20: 0, 30: 1}, trials)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected)
    rows = torch.full((31,), -1)
    rows[[10, 20, 30]] = torch.tensor([2, 0, 1])
    assert torch.equal(score_trials(embeddings, rows, trials), scores)


@pytest.mark.parametrize("block", [1, 100, 3 * 64 * 7])
def test_blocks_do_not_change_scores(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(50, 64, generator=generator)
    trials = made(torch.randint(50, (300, 2), generator=generator).tolist())
    rows = torch.arange(50)
    whole = score_trials(embeddings, rows, trials)
    exact = torch.nn.functional.cosine_similarity(*(embeddings[s].double() for s in (trials.enrolment, trials.test)))
    assert (whole - exact).abs().max() < 1e-6
    normalised = normalise_scores(whole, trials, rows, embeddings, embeddings[:20], top=5)
    monkeypatch.setattr(module, "BLOCK", block)
    assert (score_trials(embeddings, rows, trials) - whole).abs().max() < 1e-6
    again = normalise_scores(whole, trials, rows, embeddings, embeddings[:20], top=5)
    torch.testing.assert_close(again, normalised)


def turned(*degrees: float) -> torch.Tensor:
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def test_normalisation_by_hand() -> None:
    """Utterance 0 at 0 degrees, 1 at 60; a cohort at 0, 60 and 180 degrees, one of them not of unit length.

    Cohort scores of 0: 1, 1/2, -1, of mean 1/6 and deviation √(13/18); of 1: 1/2, 1, -1/2, of mean 1/3 and √(7/18).
    The two highest of both: 1 and 1/2, of mean 3/4 and deviation 1/4. The trial scores 1/2.
    """
    embeddings, cohort = turned(0, 60), turned(0, 60, 180) * torch.tensor([[1.0], [5.0], [0.1]])
    trials = made([(0, 1)])
    scores = score_trials(embeddings, {0: 0, 1: 1}, trials)
    plain = normalise_scores(scores, trials, {0: 0, 1: 1}, embeddings, cohort, top=None)
    expected = ((1 / 2 - 1 / 6) / math.sqrt(13 / 18) + (1 / 2 - 1 / 3) / math.sqrt(7 / 18)) / 2
    assert plain.tolist() == pytest.approx([expected])
    adaptive = normalise_scores(scores, trials, {0: 0, 1: 1}, embeddings, cohort, top=2)
    assert adaptive.tolist() == pytest.approx([-1.0])
    assert plain.dtype == adaptive.dtype == torch.float32


def test_each_side_of_each_trial_is_normalised_by_its_own_cohort_scores() -> None:
    """Against a loop over trials, with rows in another order than utterances."""
    generator = torch.Generator().manual_seed(3)
    embeddings, cohort = torch.randn(6, 8, generator=generator), torch.randn(12, 8, generator=generator)
    rows = {5: 3, 8: 0, 13: 5, 2: 1}
    trials = made([(8, 13), (5, 2), (13, 5), (8, 8)])
    scores = score_trials(embeddings, rows, trials)
    similarities = torch.nn.functional.cosine_similarity(embeddings[:, None], cohort[None], dim=2).numpy()
    expected = []
    for score, *sides in zip(scores.tolist(), trials.enrolment.tolist(), trials.test.tolist(), strict=True):
        tops = [np.sort(similarities[rows[side]])[-4:] for side in sides]
        expected.append(np.mean([(score - top.mean()) / top.std() for top in tops]))
    found = normalise_scores(scores, trials, rows, embeddings, cohort, top=4)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_a_cohort_that_says_nothing_is_refused() -> None:
    embeddings, trials = turned(0, 60), made([(0, 1)])
    for cohort, top in ((turned(0, 90, 180), 4), (turned(0, 90, 180), 1), (turned(0), None)):
        with pytest.raises(UserError, match="most similar of a cohort"):
            normalise_scores(torch.zeros(1), trials, torch.arange(2), embeddings, cohort, top)
    alike = normalise_scores(torch.ones(1), trials, torch.arange(2), embeddings, turned(30, 30), None)
    assert alike.tolist() == pytest.approx([1 - np.cos(np.pi / 6)], abs=1e-6)  # centred, not divided


def test_lines_of_scores_can_be_read_again_to_the_bit(tmp_path: Path) -> None:
    scores = torch.tensor([0.1234567891, -1e-9, 1.0])
    trials = made([(0, 2), (1, 0), (2, 2)], [True, False, True])
    items = trial_items(trials, scores, ["x/1", "x/2", "y 1"], ["x", "x", "y y"])
    (tmp_path / "trials.txt").write_text(trial_lines(items))
    again = read_trial_items(tmp_path / "trials.txt")
    assert again.ids == items.ids == ("x/1 y%201", "x/2 x/1", "y%201 y%201")
    assert (again.truths, again.clusters) == (items.truths, (("x", "y y"), ("x", "x"), ("y y", "y y")))
    assert np.array_equal(again.scores, items.scores)
    (tmp_path / "trials.txt").write_text("x/1 y/1 0.5 target\n")
    with pytest.raises(UserError, match="does not have 6 fields: an earlier version wrote no speakers"):
        read_trial_items(tmp_path / "trials.txt")
