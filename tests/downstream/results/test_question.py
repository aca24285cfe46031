"""The digests that name a run's folder: those of the code before families had folders, and what moves them."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from downstream.data.dataset import Dataset
from downstream.data.splits import Fold
from downstream.recipes.files import overridden, validated
from downstream.recipes.options import Options
from downstream.recipes.recipe import Recipe
from downstream.results.question import Question
from downstream.tasks.registry import family_of, find_family
from upstream.base import Upstream

EMOTION = {
    "name": "own/emotion",
    "version": 3,
    "title": "Emotions",
    "task": "classification",
    "protocol": "clean",
    "corpus": {"name": "manifest", "label": ["emotion", "mood"], "classes": ["glad", "sad"]},
    "split": {"rule": "speaker_folds", "folds": 3},
    "head": {"projection": 64},
    "optimizer": {"name": "adam", "lr": 1e-3},
    "training": {"steps": 200, "batch": 16, "evaluate_every": 50},
    "primary": "accuracy",
}
KEYWORD = EMOTION | {
    "name": "own/keyword",
    "corpus": {
        "name": "speech_commands_v1",
        "label": ["word"],
        "classes": ["go", "stop"],
        "others": "_unknown_",
        "silence": {"label": "_background_noise_", "name": "_silence_"},
        "effects": {"gain": -3.0},
    },
    "split": {"rule": "published"},
    "training": {"steps": 90, "batch": 8, "evaluate_every": 30, "sampling": "balanced", "select": "macro_f1"},
    "sweep": {"lr": [1e-2, 1e-3], "seed": [0, 1], "layer": ["mix", 2]},
    "deviations": ["none that matter"],
}
RECOGNITION = EMOTION | {
    "name": "own/asr",
    "task": "recognition",
    "corpus": {"name": "librispeech"},
    "split": {"rule": "published", "test": ["test-clean", "test-other"]},
    "head": {"projection": 32, "hidden": 48, "depth": 1, "dropout": 0.1, "spec_augment": {"time_masks": 1}},
    "training": {"steps": 500, "batch_seconds": 60, "evaluate_every": 100},
    "text": {"vocabulary": "superb"},
    "primary": "wer",
}
VERIFICATION = EMOTION | {
    "name": "own/sv",
    "task": "verification",
    "corpus": {"name": "voxceleb1", "effects": {"gain": -3.0, "remove_silence": True}},
    "split": {"rule": "published", "longer_than": 2.0},
    "head": {"projection": 96, "margin": 0.2},
    "optimizer": {"name": "adamw", "lr": 1e-4, "weight_decay": 0.01},
    "training": {"steps": 80, "batch": 10, "evaluate_every": 20, "crop": {"seconds": 8, "of": "states"}},
    "trials": {"list": "drawn", "most": 500, "seed": 7},
    "primary": "eer",
}
BEAM = ("decoding.method=beam", "decoding.beam=20", "decoding.lm_weight=1.5")
AS_NORM = ("trials.normalisation=as_norm", "trials.cohort=40", "trials.top=8")


class FakeUpstream:
    """All that a question holds of an upstream."""

    fingerprint, dtype = hashlib.sha256(b"weights").hexdigest(), torch.bfloat16


@dataclass(frozen=True)
class FakeTargets:
    """Targets with the rules of their trials."""

    rules: tuple[str, ...] = ()

    def question(self) -> list[str]:
        return sorted(self.rules)


@dataclass(frozen=True)
class FakeSplit:
    folds: tuple[Fold, ...] = (Fold("fold1", (0, 1), (2,), (3, 4)), Fold("fold2", (3, 4), (0,), (1, 2)))


@dataclass(frozen=True)
class FakeDataset:
    """All that a question holds of a dataset."""

    targets: FakeTargets
    split: FakeSplit = FakeSplit()
    fingerprint: str = hashlib.sha256(b"audio").hexdigest()


RULES = ("every pair of the test part", "all pairs of dev")
OPTIONS = Options(seed=4)


def recipe_of(content: dict[str, Any], *overrides: str) -> Recipe:
    kind = find_family(content["task"]).recipe_type
    return validated(overridden(copy.deepcopy(content), overrides, kind), kind, "The recipe")


def question(recipe: Recipe, options: Options = OPTIONS, dataset: FakeDataset | None = None) -> Question:
    own = dataset or FakeDataset(FakeTargets(RULES if recipe.task == "verification" else ()))
    fake: Dataset = own  # type: ignore[assignment]
    model: Upstream = FakeUpstream()  # type: ignore[assignment]
    return Question.of(model, recipe, family_of(recipe), fake, options)


# What the code of commit 7cb0eb2 gave for the same settings, split, fingerprints and trials.
EXPECTED: list[tuple[dict[str, Any], tuple[str, ...], Options, str, str]] = [
    (
        EMOTION,
        (),
        OPTIONS,
        "7dc4c05f9a477ada538b3621458a53e037e2a4ff09ca62cd1f626c0d195b7b66",
        "5992b9fb151b6b6697ce7afd137bff7d122442c4d7f6383b76b659da4c66aa3e",
    ),
    (
        EMOTION,
        (),
        replace(OPTIONS, layer=2),
        "48995a64df8d0ea93777a571878f22ddae4d05b3ed4d8d3d112ce672be51ea23",
        "14321ee93a783495a32b930f56b335629094d98d225e9de572d034c2245fb0a5",
    ),
    (
        EMOTION,
        ("optimizer.lr=1e-2", "sweep.layer=all"),
        OPTIONS,
        "06bd61c7b26f87158463c06cb54fb4726f953327c5ef7ac4d6814b1eac83b6de",
        "969ad6974424577ad42151714c5bd65f2d18a837ec2092c4cb2b52d451f015a7",
    ),
    (
        EMOTION,
        ("split.rule=superb_er",),
        OPTIONS,
        "6e320b305b9cbdc96bc9e5d00798d339e2250cfbd53bd09af14657b0451115dc",
        "97a78df706a5634df8e1528baffc69538b4756a36ecb0f6a784d7be31358c781",
    ),
    (
        KEYWORD,
        (),
        OPTIONS,
        "7f90632f2dfa57520054f4819f52cd763fb3626b900850aab23520feaaa475cc",
        "ccab82950cd7690edd62d34dcec1243fc2fab0f07c140091a2cb0489fbbce339",
    ),
    (
        RECOGNITION,
        (),
        OPTIONS,
        "492e99f1132b661f39512d90459c89c86e935cff81824657363fc27cfd19d266",
        "65ad47e2268b4241974e4adc8024992865da00c1559bf7d53c57f785f4fa55be",
    ),
    (
        RECOGNITION,
        BEAM,
        OPTIONS,
        "492e99f1132b661f39512d90459c89c86e935cff81824657363fc27cfd19d266",
        "f60cb5907525a2cb2f4fae9e076a34b92459e93fac7c62b039eb46c32e844f6c",
    ),
    (
        RECOGNITION,
        ("training.batch_seconds=null", "training.sampling=superb_buckets", "head.spec_augment=null"),
        OPTIONS,
        "af5d51cfc18481b39a34d73628c5400be65bd4014cccd63d6321eb694fdc3c4a",
        "d0d4f6691ce7a54f80dac63615662cc568b2050861dc09cdc49b95b9aabe6dbd",
    ),
    (
        VERIFICATION,
        (),
        OPTIONS,
        "cfac881305f0be6fedab0610f6b414f84bd8247f5ecbfa17ab72774ebadd43ec",
        "f95130df83d5f760c8c2a2cc37165621a718b023c6b4a3e0aad4925cf6b18089",
    ),
    (
        VERIFICATION,
        AS_NORM,
        OPTIONS,
        "cfac881305f0be6fedab0610f6b414f84bd8247f5ecbfa17ab72774ebadd43ec",
        "aff4742f93b1e880eaa1c9fda8211ebf3b18db0765fd5830e4b72b2c1cfd4cc5",
    ),
    (
        VERIFICATION,
        ("trials.list=trials.txt", "training.crop.of=audio"),
        OPTIONS,
        "b28eb50a8b58c27496cf9676966fcbf0b9307a6212954b7ae2800b58b96b35df",
        "2df5ff02fd60d590044dd85df05298b15368931193063c0b56d0b408ba70b12f",
    ),
]


@pytest.mark.parametrize(("content", "overrides", "options", "learned", "asked"), EXPECTED)
def test_a_question_has_the_digests_that_it_always_had(
    content: dict[str, Any], overrides: tuple[str, ...], options: Options, learned: str, asked: str
) -> None:
    found = question(recipe_of(content, *overrides), options)
    assert (found.learned, found.asked) == (learned, asked)


@pytest.mark.parametrize(
    ("content", "override", "moves"),
    [
        (EMOTION, "optimizer.schedule=constant", False),
        (EMOTION, "optimizer.warmup=0", False),
        (EMOTION, "head.pooling=mean", False),
        (RECOGNITION, "optimizer.schedule=constant", False),
        (VERIFICATION, "optimizer.warmup=0", False),
        (EMOTION, "optimizer.schedule=cosine", True),
        (EMOTION, "optimizer.warmup=20", True),
        (EMOTION, "head.pooling=attention", True),
        (RECOGNITION, "optimizer.schedule=linear", True),
        (VERIFICATION, "optimizer.warmup=5", True),
        (EMOTION, "sweep.layer=best", True),
    ],
)
def test_a_later_setting_moves_a_question_only_where_it_is_used(
    content: dict[str, Any], override: str, moves: bool
) -> None:
    plain, changed = question(recipe_of(content)), question(recipe_of(content, override))
    assert (changed.learned != plain.learned) == moves
    assert (changed.asked != plain.asked) == moves


@pytest.mark.parametrize(
    ("content", "override"),
    [
        (RECOGNITION, "decoding.method=beam"),
        (RECOGNITION, "decoding.word_score=0.5"),
        (VERIFICATION, "trials.normalisation=s_norm"),
        (VERIFICATION, "trials.cohort=20"),
        (VERIFICATION, "trials.top=5"),
    ],
)
def test_a_way_of_testing_moves_what_is_asked_and_not_what_is_learned(content: dict[str, Any], override: str) -> None:
    plain, changed = question(recipe_of(content)), question(recipe_of(content, override))
    assert changed.learned == plain.learned
    assert changed.asked != plain.asked


@pytest.mark.parametrize("task", ["classification", "verification"])
def test_several_test_parts_are_asked_otherwise_than_before_and_learned_alike(task: str) -> None:
    """Until schema 3 these families pooled them into one score."""
    content = EMOTION | {"split": {"rule": "published"}} if task == "classification" else VERIFICATION
    one, two, turned = (
        recipe_of(content, f"split.test={parts}") for parts in ("[test-a]", "[test-a, test-b]", "[test-b, test-a]")
    )
    assert len({question(recipe).asked for recipe in (one, two, turned)}) == 3
    assert question(two).learned == question(turned).learned


def test_what_a_language_model_holds_is_asked(tmp_path: Path) -> None:
    model = tmp_path / "words.arpa"
    recipe = recipe_of(RECOGNITION, *BEAM, f"decoding.language_model={model}")
    absent = question(recipe)
    model.write_text("one")
    first = question(recipe)
    model.write_text("two")
    second = question(recipe)
    assert len({absent.asked, first.asked, second.asked}) == 3
    assert absent.learned == first.learned == second.learned


def test_everything_else_moves_what_is_learned() -> None:
    recipe = recipe_of(VERIFICATION)
    plain, targets = question(recipe), FakeTargets(RULES)
    other_split = FakeSplit((FakeSplit().folds[1], FakeSplit().folds[0]))
    others = [
        question(recipe, replace(OPTIONS, seed=5)),
        question(recipe, replace(OPTIONS, layer=1)),
        question(recipe, dataset=FakeDataset(FakeTargets(RULES[:1]))),
        question(recipe, dataset=FakeDataset(targets, other_split)),
        question(recipe, dataset=FakeDataset(targets, fingerprint="other")),
        question(recipe_of(VERIFICATION, "head.margin=0.3")),
        question(recipe_of(VERIFICATION, "trials.most=400")),
    ]
    assert len({one.learned for one in [plain, *others]}) == len(others) + 1
    assert len({one.asked for one in [plain, *others]}) == len(others) + 1
    moved = replace(
        OPTIONS, results=Path("elsewhere"), store=Path("there"), fresh=True, progress=False, command="typed"
    )
    assert question(recipe, moved) == plain
