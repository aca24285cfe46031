"""Recipes: typed, closed, and helpful when they are wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from downstream.recipes import recipe_names, shipped
from downstream.tasks.classification import ClassificationRecipe
from downstream.tasks.registry import load_recipe
from downstream.training.sweep import Config, configs, layer_settings
from upstream.errors import UserError

RECIPES = shipped("recipes")


def emotion(*overrides: str, name: str = "emotion") -> ClassificationRecipe:
    recipe = load_recipe(name, overrides)
    assert isinstance(recipe, ClassificationRecipe)
    return recipe


def swept(recipe: ClassificationRecipe, num_layers: int, seed: int, layer: int | None = None) -> list[Config]:
    return configs(recipe, layer_settings(recipe, num_layers, layer), num_layers, seed)


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
    recipe = emotion(name="superb/er")
    assert recipe.corpus.classes == ("neutral", "happy", "angry", "sad")
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("adam", 1e-4, 0.0)
    training = recipe.training
    assert (training.batch, training.accumulate, training.steps, training.evaluate_every) == (4, 8, 30_000, 1_000)
    assert (training.clip, recipe.select, recipe.head.projection) == (1.0, "accuracy", 256)


def test_overrides_and_another_corpus() -> None:
    changes = ["optimizer.lr=1e-2", "corpus.classes=[happy, sad]", "training.steps=7"]
    recipe = emotion(*changes, "corpus.name=emodb")
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
        ("trials.list=x", "is of classification, the key of verification."),
        ("head.hidden=8", "the key of recognition."),
        ("head.width=8", "has no key 'head.width'. Known there: head.projection"),
        ("lr=1", "Did you mean sweep.lr, finetune.lr or optimizer.lr?"),
        ("training=1", "That is a section; its keys are training.steps, "),
        ("training.steps=true", "true and false are not numbers"),
        ("training.steps=", "'training.steps' is empty"),
        ("split.test=x", "expected a list"),
        ("sweep.seed=[1, 1]", "is [1, 1]: a value is listed twice."),
    ],
)
def test_wrong_overrides_name_the_fix(override: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        load_recipe("emotion", [override])
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("emotion", "training.accumulate=1000000000", "the largest that is allowed is 10,000"),
        ("emotion", "training.steps=99999999999999999999", "the largest that is allowed is 1e+09"),
        ("emotion", "training.batch=10000000000", "largest"),
        ("emotion", "head.projection=2147483648", "largest"),
        ("emotion", "corpus.effects.gain=1e300", "largest"),
        ("emotion", "split.folds=1000000000", "largest"),
        ("emotion", "split.longer_than=.inf", "expected a finite number"),
        ("emotion", "training.order_seed=9223372036854775808", "less than"),
        ("emotion", "training.crop={seconds: 1.0e-300, of: audio}", "0.025"),
        ("emotion", "sweep.layer=99999999999999999999", "a layer is a number"),
        ("emotion", f"sweep.lr={[*range(1, 1_002)]}", "at most 1000 items"),
        ("emotion", f"sweep.lr={[*range(1, 500_000)]}", "3,888,887 characters, more than the 1,048,576"),
        ("superb/asr", "head.hidden=4294967296", "largest"),
        ("superb/asr", "head.depth=100000", "largest"),
        ("superb/asr", "decoding.beam=10000000000", "largest"),
        ("superb/asr", "decoding.lm_weight=.nan", "'decoding.lm_weight' is nan"),
        ("demo/sv", "trials.most=1000000000000", "largest"),
    ],
)
def test_numbers_have_bounds(name: str, override: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        load_recipe(name, [override])
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: " + "[" * 20_000, "nested too deeply"),
        ("x: " + "[" * 30 + "]" * 30, "more than 20 sections and lists"),
        ("x: &a [*a]", "more than 20 sections and lists"),
        ("x0: &a0 [1]\n" + "".join(f"x{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 9)), "100,000"),
        ("x: 1\ny: !!timestamp abc", "line 2, column 4: 'abc' is no timestamp"),
        ("x: !!bool maybe", "'maybe' is no bool"),
        ("x: 0b_", "'0b_' is no int; put it in quotes"),
        ("x: " + "9" * 5_000, "9' is no int"),
        ("x: !!binary 'é'", "not valid YAML"),
        ("x: 1\nname: a\nname: b", "line 3, column 1: the key 'name' is given twice"),
        ('x: "\\ud800"', "no text of Unicode"),
        ("x: \x07", "not allowed in YAML"),
        ("x: 1\n---\nx: 2", "expected a single document"),
        ("? [a]\n: b", "unhashable"),
        ("#" * 2_000_000, "2,000,000 bytes, more than"),
        ("", "holds nothing"),
        ("- emotion", "holds a list"),
    ],
)
def test_foreign_yaml_is_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        load_recipe(tmp_path / "own.yaml")
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 300 + len(str(tmp_path))


def test_what_is_no_file_of_a_recipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "latin.yaml").write_bytes("title: ä".encode("latin-1"))
    kinds = {"pipe": "a pipe", "": "a folder", "link": "where there is nothing", "latin.yaml": "save it as UTF-8"}
    for name, words in kinds.items():
        with pytest.raises(UserError, match=words):
            load_recipe(tmp_path / name)
    for name in ("a" * 5_000, "a\0b", ""):
        with pytest.raises(UserError, match="There is no recipe or YAML file called"):
            load_recipe(name)


def test_a_value_that_yaml_would_take_for_a_date_is_text() -> None:
    assert emotion("corpus.classes=[2001-01-01, 2001-99-99]").corpus.classes == ("2001-01-01", "2001-99-99")


def test_a_long_value_is_shown_in_short(tmp_path: Path) -> None:
    for value in ("{a: " + "x" * 100_000 + "}", str(["x"] * 10_000)):
        with pytest.raises(UserError) as refusal:
            load_recipe("emotion", [f"sweep.lr={value}"])
        assert len(str(refusal.value)) < 1_200


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  steps:", "  stepz:", "There is no key 'training.stepz'; did you mean steps?"),
        ("optimizer:", "optimiser:", "did you mean optimizer?"),
        ("version: 4", "", "The key 'version' is missing."),
        ("name: emotion", "name: [", "not valid YAML"),
        ("name: emotion", "name: ../outside", "'name' is '../outside'"),
    ],
)
def test_wrong_files_name_the_fix(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_recipe(edited(tmp_path, old, new))
    assert words in str(refusal.value)


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean emotion?"):
        load_recipe("emotoin")
    with pytest.raises(UserError, match="Known: asr, demo/asr"):
        load_recipe("zzzz")


def test_an_override_below_a_key_that_is_no_section(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("task: classification\ncorpus: demo\n")
    with pytest.raises(UserError, match="'corpus' is 'demo' in the recipe, not a section"):
        load_recipe(str(path), ["corpus.name=emodb"])


@pytest.mark.parametrize("content", ["corpus: demo\n", "task:\n", "task: [classification]\n"])
def test_a_file_without_a_task_names_the_families(content: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match="'task' is missing; name a family: classification, recognition, verification"):
        load_recipe(path)


def test_yaml_cannot_build_objects(tmp_path: Path) -> None:
    path = edited(tmp_path, "name: emotion", "name: !!python/object/apply:os.getcwd []")
    with pytest.raises(UserError, match="not valid YAML"):
        load_recipe(path)


def test_a_sweeps_lists_and_words() -> None:
    recipe = load_recipe("emotion", ["sweep.lr=superb", "sweep.seed=3", "sweep.layer=[mix, 2, -1, 12]"])
    assert recipe.sweep.lr == (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
    found = swept(recipe, num_layers=13, seed=9)
    assert len(found) == 7 * 1 * 3  # -1 and 12 are one layer
    assert {(config.seed, config.layer) for config in found} == {(3, None), (3, 2), (3, 12)}
    every = swept(emotion("sweep.layer=all"), num_layers=4, seed=9)
    assert [(config.lr, config.seed, config.layer) for config in every] == [(1e-3, 9, n) for n in (None, 0, 1, 2, 3)]
    assert swept(emotion(), 4, seed=1, layer=-2) == [Config(1e-3, 1, 2)]
    with pytest.raises(UserError, match="There is no layer 4: this upstream has 4"):
        swept(emotion("sweep.layer=[0, 4]"), 4, seed=0)


def test_the_best_layer_needs_the_heads_of_all_layers() -> None:
    """Heads of a layer that is asked for twice are learned once, and the order of the settings stays."""
    recipe = emotion("sweep.layer=[mix, best, 1]", "sweep.lr=[1e-2, 1e-3]")
    assert layer_settings(recipe, 4, None) == [None, "best", 1]
    found = swept(recipe, num_layers=4, seed=0)
    assert [(config.lr, config.layer) for config in found] == [
        (lr, layer) for layer in (None, 0, 1, 2, 3) for lr in (1e-2, 1e-3)
    ]
    assert layer_settings(emotion("sweep.layer=[best, all]"), 3, None) == ["best", None, 0, 1, 2]
    assert layer_settings(emotion("sweep.layer=best"), 3, None) == ["best"]
    assert [config.layer for config in swept(emotion("sweep.layer=best"), 3, seed=0)] == [0, 1, 2]
    assert [config.layer for config in swept(emotion("sweep.layer=chosen"), 3, seed=0)] == [None, 0, 1, 2]
    assert layer_settings(emotion("sweep.layer=chosen"), 3, layer=1) == [1]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.schedule=step"], "'constant', 'linear' or 'cosine'"),
        (["optimizer.warmup=-1"], "greater than or equal to 0"),
        (["optimizer.warmup=11", "training.steps=10"], "optimizer.warmup is 11 updates, and training.steps only 10"),
        (["head.pooling=max"], "'mean' or 'attention'"),
        (["trials.most=5"], "A recipe of this task has no key 'trials.most'"),
        (["decoding.method=beam"], "A recipe of this task has no key 'decoding.method'"),
    ],
)
def test_settings_that_a_recipe_cannot_have_are_sentences(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError) as refusal:
        load_recipe("emotion", overrides)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("optimizer.schedule=constant", False),
        ("optimizer.warmup=0", False),
        ("head.pooling=mean", False),
        ("optimizer.mix_lr=null", False),
        ("optimizer.mix_lr=0.03", True),
        ("optimizer.schedule=cosine", True),
        ("optimizer.warmup=5", True),
        ("head.pooling=attention", True),
    ],
)
def test_a_later_setting_is_in_the_question_only_where_it_is_used(override: str, changes: bool) -> None:
    plain, changed = emotion().question(), emotion(override).question()
    assert (changed != plain) == changes
    key = override.partition("=")[0].split(".")
    assert (key[1] in changed[key[0]]) == changes
    assert key[1] not in plain[key[0]]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweep.lr=[0.1, 0.1]", "a value is listed twice"),
        ("sweep.lr=[fast]", "valid number"),
        ("sweep.lr=[-1]", "greater than 0"),
        (
            "sweep.layer=[mix, top]",
            "a layer is a number, mix for the weighted sum, best for the layer that development chooses, or chosen for",
        ),
        (
            "sweep.layer=[[1]]",
            "a layer is a number, mix for the weighted sum, best for the layer that development chooses, or chosen for",
        ),
        ("sweep.lr=true", "true and false are not numbers"),
        ("sweep.rate=[0.1]", "Known there: sweep.lr"),
        ("store.mode=disk", "'auto', 'means', 'frames' or 'off'"),
        ("store.codec=float8", "'float16', 'bfloat16' or 'int8'"),
    ],
)
def test_wrong_sweeps_and_stores_are_sentences(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("emotion", [override])


def test_off_is_a_word_in_yaml_too() -> None:
    assert load_recipe("emotion", ["store.mode=off"]).store.mode == "off"


def test_names_of_columns_labels_and_parts_are_composed() -> None:
    """As a manifest's are; a Mac's keyboard and its file names write the same letters in two ways."""
    recipe = emotion("corpus.label=gro\u0308\u00dfe", "corpus.classes=[no\u0308, u\u0308]", "split.test=[test-e\u0301]")
    assert recipe.corpus.label == ("gr\u00f6\u00dfe",)
    assert recipe.corpus.classes == ("n\u00f6", "\u00fc")
    assert recipe.split.test == ("test-\u00e9",)
