"""Recipes: typed, closed, and helpful when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.recipe import RECIPES, load_recipe, recipe_names
from downstream.sweep import Point, points
from upstream.errors import MendableError


def edited(tmp_path: Path, old: str, new: str) -> str:
    text = (RECIPES / "emotion.yaml").read_text()
    assert old in text
    path = tmp_path / "own.yaml"
    path.write_text(text.replace(old, new))
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_named_as_its_file(name: str) -> None:
    assert load_recipe(name).name == name


def test_superb_er_is_superbs() -> None:
    """Section 7 and 3 of the protocol: four classes in order, Adam 1e-4, 4 x 8, 30,000 steps, every 1,000."""
    recipe = load_recipe("superb/er")
    assert recipe.corpus.classes == ("neutral", "happy", "angry", "sad")
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("adam", 1e-4, 0.0)
    training = recipe.training
    assert (training.batch, training.accumulate, training.steps, training.evaluate_every) == (4, 8, 30_000, 1_000)
    assert (training.clip, recipe.select, recipe.head.projection) == (1.0, "accuracy", 256)


def test_overrides_and_another_corpus() -> None:
    changes = ["optimizer.lr=1e-2", "corpus.classes=[happy, sad]", "training.steps=7"]
    recipe = load_recipe("emotion", [*changes, "corpus.name=emodb"])
    assert (recipe.optimizer.lr, recipe.corpus.classes, recipe.training.steps) == (0.01, ("happy", "sad"), 7)
    assert recipe.corpus.name == "emodb"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimiser.lr=1", "Did you mean optimizer.lr?"),
        ("trainig.steps=1", "Did you mean training.steps?"),
        ("optimizer.lr", "takes key=value"),
        ("optimizer.lr=-1", "greater than 0"),
        ("optimizer.lr=fast", "'optimizer.lr' is 'fast'"),
        ("training.steps=1.5", "'training.steps' is 1.5"),
        ("split.rule=random", "speaker_folds"),
        ("training.steps=[", "not valid YAML"),
        ("corpus.classes=[yes, no]", "put it in quotes"),
        ("corpus.classes=[sad, sad]", "named twice"),
        ("optimizer.lr=.inf", "finite"),
        ("name=/tmp/elsewhere", "cannot be overridden"),
        ("protocol=superb", "cannot be overridden"),
    ],
)
def test_wrong_overrides_name_the_mend(override: str, words: str) -> None:
    with pytest.raises(MendableError) as refusal:
        load_recipe("emotion", [override])
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  steps:", "  stepz:", "There is no key 'training.stepz'; did you mean steps?"),
        ("optimizer:", "optimiser:", "did you mean optimizer?"),
        ("version: 2", "", "The key 'version' is missing."),
        ("name: emotion", "name: [", "not valid YAML"),
        ("name: emotion", "name: ../outside", "'name' is '../outside'"),
    ],
)
def test_wrong_files_name_the_mend(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(MendableError) as refusal:
        load_recipe(edited(tmp_path, old, new))
    assert words in str(refusal.value)


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(MendableError, match="Did you mean emotion?"):
        load_recipe("emotoin")
    with pytest.raises(MendableError, match="Known: asr, demo/asr"):
        load_recipe("zzzz")


def test_an_override_below_a_key_that_is_no_section(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("corpus: demo\n")
    with pytest.raises(MendableError, match="'corpus' is 'demo' in the recipe, not a section"):
        load_recipe(str(path), ["corpus.name=emodb"])


def test_yaml_cannot_build_objects(tmp_path: Path) -> None:
    path = edited(tmp_path, "name: emotion", "name: !!python/object/apply:os.getcwd []")
    with pytest.raises(MendableError, match="not valid YAML"):
        load_recipe(path)


def test_a_sweeps_lists_and_words() -> None:
    recipe = load_recipe("emotion", ["sweep.lr=superb", "sweep.seed=3", "sweep.layer=[mix, 2, -1, 12]"])
    assert recipe.sweep.lr == (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
    swept = points(recipe, num_layers=13, seed=9, layer=None)
    assert len(swept) == 7 * 1 * 3  # -1 and 12 are one layer
    assert {(point.seed, point.layer) for point in swept} == {(3, None), (3, 2), (3, 12)}
    every = points(load_recipe("emotion", ["sweep.layer=all"]), num_layers=4, seed=9, layer=None)
    assert [(point.lr, point.seed, point.layer) for point in every] == [(1e-3, 9, n) for n in (None, 0, 1, 2, 3)]
    assert points(load_recipe("emotion"), 4, seed=1, layer=-2) == [Point(1e-3, 1, 2)]
    with pytest.raises(MendableError, match="There is no layer 4: this upstream has 4"):
        points(load_recipe("emotion", ["sweep.layer=[0, 4]"]), 4, seed=0, layer=None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweep.lr=[0.1, 0.1]", "a value is listed twice"),
        ("sweep.lr=[fast]", "valid number"),
        ("sweep.lr=[-1]", "greater than 0"),
        ("sweep.layer=[mix, top]", "a layer is a number, or mix for the weighted sum"),
        ("sweep.layer=[[1]]", "a layer is a number, or mix for the weighted sum"),
        ("sweep.lr=true", "true and false are no numbers"),
        ("sweep.rate=[0.1]", "Did you mean sweep.lr"),
        ("store.mode=disk", "'auto', 'means', 'frames' or 'off'"),
        ("store.codec=float8", "'float16', 'bfloat16' or 'int8'"),
    ],
)
def test_wrong_sweeps_and_stores_are_sentences(override: str, message: str) -> None:
    with pytest.raises(MendableError, match=message):
        load_recipe("emotion", [override])


def test_off_is_a_word_in_yaml_too() -> None:
    assert load_recipe("emotion", ["store.mode=off"]).store.mode == "off"
