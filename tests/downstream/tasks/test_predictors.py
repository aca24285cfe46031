"""Heads rebuilt without their dataset answer as their task does; times of words; what a family can leave out."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from chosen_heads import CLASSES, LARGE, MEANS, SMALL, SPEAKERS, many, task_of
from small_datasets import small_dataset

import upstream
from downstream.data.splits import Fold
from downstream.tasks import Family, HeadContext, load_recipe
from downstream.tasks.classification.family import Classification
from downstream.tasks.classification.recipe import ClassifierSettings
from downstream.tasks.recognition.family import Recognition, TextTargets
from downstream.tasks.recognition.predictor import aligned, timed_words
from downstream.tasks.recognition.text import characters_of
from downstream.tasks.registry import family_of
from downstream.tasks.verification.family import SpeakerTargets, Verification, VerificationTask
from downstream.tasks.verification.trial_scores import score_trials
from downstream.tasks.verification.trials import Trials
from upstream.base import HiddenStates, Upstream
from upstream.errors import UserError

FRAMES = HiddenStates(torch.randn(2, 3, 30, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([30, 20, 25]))


def context_of(outputs: tuple[str, ...], **facts: object) -> HeadContext:
    return HeadContext(outputs, facts, num_layers=2, dim=4, stride=320)


def test_classes_as_the_task_has_them() -> None:
    task = task_of(many())
    head = task.build(5, 1).eval()
    recipe = load_recipe("demo/emotion", ["head.projection=3"])
    predictor = family_of(recipe).predictor(context_of(tuple(task.outputs(LARGE))))
    rebuilt = predictor.build(1)
    rebuilt.load_state_dict(head.state_dict())
    posteriors = predictor.predict(rebuilt.eval(), MEANS[:, :4])
    assert torch.equal(posteriors, task.predict(head, MEANS[:, :4]))
    rows = predictor.answers(posteriors)
    for row, own in zip(rows, posteriors.tolist(), strict=True):
        assert row["class"] == CLASSES[own.index(max(own))]
        assert row["posterior"] == max(row["posteriors"].values())
        assert list(row["posteriors"]) == list(CLASSES)
        assert math.isclose(sum(row["posteriors"].values()), 1, abs_tol=1e-5)
    assert isinstance(family_of(recipe), Classification)
    assert predictor.averages


def test_a_transcript_as_the_task_has_it_and_its_words_in_time() -> None:
    dataset = small_dataset(SPEAKERS, [LARGE, SMALL], TextTargets(("A CAB", "BAD") * 40))
    recipe = load_recipe("asr", ["head.hidden=8", "head.projection=8", "head.depth=1"])
    family = family_of(recipe)
    assert isinstance(family, Recognition)
    task = family.task(dataset, upstream_of_shape())
    head = task.build(0, None).eval()
    predictor = family.predictor(context_of(tuple(task.outputs(LARGE)), **task.facts(LARGE)))
    rebuilt = predictor.build(None)
    rebuilt.load_state_dict(head.state_dict())
    predicted = predictor.predict(rebuilt.eval(), FRAMES)
    for own, others in zip(predicted, task.predict(head, FRAMES), strict=True):
        assert torch.equal(own, others)
    answers = predictor.answers(predicted)
    assert [row["transcript"] for row in answers] == [task.decoder(LARGE)(own) for own in predicted]
    for row, own in zip(answers, predicted, strict=True):
        assert [word["word"] for word in row["words"]] == row["transcript"].split()
        ends = [time for word in row["words"] for time in (word["start"], word["end"])]
        assert ends == sorted(ends)
        assert not ends or ends[-1] <= len(own) * 0.02 + 1e-9


def upstream_of_shape() -> Upstream:
    """Return an upstream as far as the recogniser looks at it."""
    loaded = upstream.load("fbank_no_cmvn")
    loaded.num_layers, loaded.dim = 2, 4
    return loaded


def frames_of_tokens(path: str, tokens: tuple[str, ...]) -> torch.Tensor:
    """Return log posteriors whose best path is `path`, a token a frame, with "_" for the blank."""
    classes = [0 if token == "_" else tokens.index(token) for token in path]
    return torch.full((len(path), len(tokens)), -5.0).scatter(1, torch.tensor(classes)[:, None], 5.0).log_softmax(1)


def test_times_are_those_of_the_best_path() -> None:
    vocabulary = characters_of(["A CAB", "LL"])
    frames = frames_of_tokens("__CC_A|_B_L_LL_", vocabulary.tokens)
    words = timed_words("CA BLL", frames, vocabulary, 0.02)
    assert [(word.word, word.start, word.end) for word in words] == [("CA", 0.04, 0.12), ("BLL", 0.16, 0.28)]
    assert timed_words("", frames, vocabulary, 0.02) == []
    spans = aligned(vocabulary.encode("BLL"), frames_of_tokens("BL_L", vocabulary.tokens), 0)
    assert spans == [(0, 1), (1, 2), (3, 4)]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_outputs_that_are_not_the_recipes_tokens_are_refused() -> None:
    family = family_of(load_recipe("superb/asr"))
    with pytest.raises(UserError, match=r"not the tokens of text\.vocabulary=superb: 2 instead of 32"):
        family.predictor(context_of(("<blank>", "A")))
    with pytest.raises(UserError, match="in another order"):
        family_of(load_recipe("asr")).predictor(context_of(("<unk>", "<blank>", "|", "A")))


def test_pairs_score_as_trials_do() -> None:
    fold = Fold("one", (0, 1, 2, 3), (4,), (5, 6, 7))
    dataset = small_dataset([f"s{i % 4}" for i in range(8)], [fold])
    targets = SpeakerTargets(("s0", "s1", "s2", "s3"), tuple(i % 4 for i in range(8)), {})
    recipe = load_recipe("sv_xvector", ["head.projection=8"])
    family = family_of(recipe)
    assert isinstance(family, Verification)
    task = VerificationTask(replace(dataset, targets=targets), 2, 4, recipe.head, recipe.trials).of_fold(fold.train)  # type: ignore[attr-defined]
    head = task.build(0, 1).eval()
    predictor = family.predictor(context_of(tuple(task.outputs(fold))))
    rebuilt = predictor.build(1)
    rebuilt.load_state_dict(head.state_dict())
    with torch.no_grad():
        embeddings = predictor.predict(rebuilt.eval(), FRAMES)
        assert torch.equal(torch.as_tensor(embeddings), task.predict(head, FRAMES))
    one, other = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    trials = Trials(one, other, torch.tensor([True, False, False]), "drawn")
    expected = score_trials(torch.as_tensor(embeddings), {0: 0, 1: 1, 2: 2}, trials)
    assert torch.equal(predictor.similarities(rebuilt, embeddings, one, other), expected)
    assert predictor.compares
    assert predictor.answers(embeddings)[2]["embedding"] == embeddings[2].tolist()


def test_a_family_without_a_predictor_says_so() -> None:
    class Silent(Classification):
        predictor = Family.predictor

    recipe = load_recipe("demo/emotion")
    with pytest.raises(UserError, match="Silent cannot be applied to new recordings"):
        Silent(recipe).predictor(context_of(CLASSES))  # type: ignore[arg-type]


def test_the_settings_of_the_head_count() -> None:
    recipe = load_recipe("demo/emotion", ["head.projection=7", "head.pooling=attention"])
    built = family_of(recipe).predictor(context_of(CLASSES)).build(None)
    wanted = ClassifierSettings.model_validate({"projection": 7, "pooling": "attention"})
    assert recipe.head == wanted  # type: ignore[attr-defined]
    assert built.state_dict()["attention"].shape == (7,)
