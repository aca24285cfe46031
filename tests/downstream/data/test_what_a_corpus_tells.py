"""What a corpus tells of speakers and parts, by task and rule: each ends in a dataset, or a fix that works when typed.

Refusals must not go in a circle (no speakers, so choose the published split; none published, so choose speakers).
"""

from __future__ import annotations

import re
from itertools import product

import pytest
from small_corpora import read, row

from downstream.data.corpus import Utterance
from downstream.data.dataset import Dataset
from downstream.tasks.registry import load_recipe
from upstream.errors import UserError

SPEAKERS = {"all": 12, "four": 4, "two": 2, "one": 1, "some": 12, "some of two": 2, "none": 0}
SPLITS = {
    "none": {},
    "whole": {0: "train", 1: "train", 2: "dev", 3: "test"},
    "no dev": {0: "train", 1: "train", 2: "train", 3: "test"},
    "train alone": {0: "train", 1: "train", 2: "train", 3: "train"},
    "partly": {0: "train", 1: "train", 3: "test"},
}
RULES = {
    "emotion": ("speaker_folds", "clip_folds", "published", "superb_er"),
    "asr": ("speaker_folds", "clip_folds", "published"),
    "sv": ("speaker_folds", "published"),
}
TYPED = re.compile(r"-o (split\.\w+=\w+)|-d (\w+)")
MOST_STEPS = 3
STATES = [
    (task, rule, *state) for task, rules in RULES.items() for rule, state in product(rules, product(SPEAKERS, SPLITS))
]


def rows(speakers: str, split: str) -> list[Utterance]:
    """Sixty clips of three classes; the parts of a split share speakers where there are fewer than four."""
    found = []
    for number in range(60):
        speaker = f"s{number % SPEAKERS[speakers]}" if SPEAKERS[speakers] else ""
        found.append(
            row(
                f"{number:02d}",
                "" if speakers.startswith("some") and number % 12 in (3, 4, 7) else speaker,
                labels={"label": "abc"[number // 4 % 3]},
                text=f"word {number}",
                split=SPLITS[split].get(number % 4),
            )
        )
    return found


def typed(monkeypatch: pytest.MonkeyPatch, task: str, rule: str, utterances: list[Utterance]) -> list[str | Dataset]:
    """What is answered, and what to the fix of each answer: sentences, and at the end a dataset where there is one."""
    overrides = [f"split.rule={rule}", *(["split.longer_than=0"] if task == "sv" else [])]
    answers: list[str | Dataset] = []
    for _ in range(MOST_STEPS):
        try:
            return [*answers, read(monkeypatch, load_recipe(task, overrides), utterances)]
        except UserError as error:
            answers.append(str(error))
        fix = TYPED.search(str(answers[-1]))
        if fix is None:
            return answers
        task, overrides = (fix[2], []) if fix[2] else (task, [*overrides, fix[1]])
    return answers


@pytest.mark.parametrize(("task", "rule", "speakers", "split"), STATES)
def test_every_state_ends(monkeypatch: pytest.MonkeyPatch, task: str, rule: str, speakers: str, split: str) -> None:
    *refusals, last = typed(monkeypatch, task, rule, rows(speakers, split))
    assert len(set(map(str, refusals))) == len(refusals)
    if isinstance(last, str):
        # Who speaks cannot be learned from fewer than six speakers; nothing else is refused for good.
        assert (task, speakers) in [("sv", few) for few in ("none", "one", "two", "four", "some of two")]
        assert re.search("Use more of the corpus|Add recordings of others|write them into the column speaker", last)
        return
    for fold in last.split.folds:
        assert fold.train
        assert fold.dev
        assert fold.test
        assert not set(fold.train) & {*fold.dev, *fold.test}
        assert not set(fold.dev) & set(fold.test)
    known = {u.speaker for u in last.utterances}
    assert bool(last.speaker_caveats) == ("" in known or shares(last))


def shares(dataset: Dataset) -> bool:
    """True if a speaker is in training and test of a fold."""
    return any(
        {dataset.utterances[i].speaker for i in fold.train} & {dataset.utterances[i].speaker for i in fold.test}
        for fold in dataset.split.folds
    )
