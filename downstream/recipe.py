"""Recipes: a task as data. A YAML file becomes a typed, closed object; a wrong key names the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from upstream.errors import MendableError

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what every generator takes

# SUPERB tunes the learning rate alone, on a log scale between these ends (s3prl, issue 498).
SUPERB_RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


class Closed(BaseModel):
    """Settings that refuse keys they do not know and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CorpusSettings(Closed):
    """Which corpus, and what is learned of it."""

    name: str = Field(description="name of the corpus; -c replaces it")
    label: tuple[str, ...] = Field(description="the label column that is learned: the first of these that there is")
    classes: tuple[str, ...] | None = Field(
        default=None, description="the classes in order; utterances of others are left out; null: all there are"
    )

    @field_validator("label", mode="before")
    @classmethod
    def one_column_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("classes")
    @classmethod
    def each_class_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("a class is named twice")
        return value


class SplitSettings(Closed):
    """How the utterances are divided."""

    rule: Literal["speaker_folds", "superb_er", "published"] = Field(
        description="speaker_folds: folds of speakers, a fold of their own for development; superb_er: SUPERB's, "
        "development drawn by utterance; published: the corpus's own"
    )
    folds: PositiveInt = Field(default=5, description="number of folds, where the corpus has no sessions of its own")


class HeadSettings(Closed):
    """What is learned on the hidden states."""

    projection: PositiveInt = Field(default=256, description="width between the two linear layers")


class OptimizerSettings(Closed):
    """How it is learned."""

    name: Literal["adam", "adamw"] = "adam"
    lr: PositiveNumber = Field(description="learning rate, constant")
    weight_decay: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)


def layer_or_word(value: object) -> object:
    """Refuse what is neither a layer's number nor a word for layers."""
    if isinstance(value, bool) or not (isinstance(value, int) or value in ("mix", "all")):
        raise ValueError("a layer is a number, or mix for the weighted sum; all stands for mix and every layer")
    return value


Layer = Annotated[int | str, BeforeValidator(layer_or_word)]


class StoreSettings(Closed):
    """What is kept of the upstream's states."""

    mode: Literal["auto", "means", "frames", "off"] = Field(
        default="auto",
        description="means over time or all frames go through the store; off: the upstream runs while heads are "
        "learned; auto: what the task needs, if the disk allowance has room for it, else off",
    )
    codec: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        default="float16", description="how frames lie on disk; means are always float32"
    )

    @field_validator("mode", mode="before")
    @classmethod
    def off_is_no_boolean(cls, value: object) -> object:
        return "off" if value is False else value  # YAML reads a bare off as false


class SweepSettings(Closed):
    """Values that are learned side by side, each with each; what is not listed has one value.

    Learning rates compete: development chooses one for each fold, seed and layer. Seeds are repetitions, whose
    scores are averaged. Layers are questions of their own; the first one's score is the primary one.
    """

    lr: tuple[PositiveNumber, ...] = Field(
        default=(), description="learning rates; superb: SUPERB's search, 1e-1 to 1e-7 by decades"
    )
    seed: tuple[Seed, ...] = Field(default=(), description="seeds of first weights and dropout; else --seed")
    layer: tuple[Layer, ...] = Field(
        default=(), description="single layers, and mix for the weighted sum; all: the sum and every layer; else -l"
    )

    @field_validator("lr", "seed", "layer", mode="before")
    @classmethod
    def one_or_several(cls, value: object) -> object:
        values = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, bool) for one in values):
            raise ValueError("true and false are no numbers")
        return values

    @field_validator("lr", mode="before")
    @classmethod
    def the_word_superb(cls, value: object) -> object:
        return SUPERB_RATES if value in ("superb", ("superb",), ["superb"]) else value

    @field_validator("lr", "seed", "layer")
    @classmethod
    def each_value_once(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a value is listed twice")
        return value

    def layers(self, num_layers: int) -> tuple[int | None, ...]:
        """The layers, None for the weighted sum; empty where none are listed."""
        words: dict[int | str, tuple[int | None, ...]] = {"mix": (None,), "all": (None, *range(num_layers))}
        return tuple(chain.from_iterable(words.get(layer, (layer,)) for layer in self.layer))  # type: ignore[arg-type]


class TrainingSettings(Closed):
    """How long, in which portions, and which step is kept."""

    steps: PositiveInt = Field(description="updates, per fold")
    batch: PositiveInt = Field(description="utterances in a micro-batch")
    accumulate: PositiveInt = Field(default=1, description="micro-batches in an update")
    clip: PositiveNumber = Field(default=1.0, description="largest norm of the gradient")
    evaluate_every: PositiveInt = Field(description="updates between two looks at the development set")
    order_seed: Seed = Field(default=0, description="seed of the order of utterances, shared by all that is learned")
    select: Literal["accuracy", "unweighted_accuracy", "macro_f1"] = Field(
        default="accuracy", description="the development score that chooses the step"
    )


class Recipe(Closed):
    """A task: what to learn, from what, how, and how it is scored.

    version is raised whenever a change can move a score.
    """

    name: str = Field(pattern=r"^\w[\w-]*(/\w[\w-]*)*$", description="also its folder below the results")
    version: PositiveInt
    title: str
    task: Literal["classification"]
    protocol: Literal["clean", "superb", "demo"]
    corpus: CorpusSettings
    split: SplitSettings
    head: HeadSettings = HeadSettings()
    optimizer: OptimizerSettings
    training: TrainingSettings
    sweep: SweepSettings = SweepSettings()
    store: StoreSettings = StoreSettings()
    primary: Literal["accuracy", "unweighted_accuracy", "macro_f1"] = Field(
        default="accuracy", description="the score that the leaderboard shows"
    )
    deviations: tuple[str, ...] = Field(default=(), description="where it departs from the protocol it follows")


# What makes a recipe that recipe; a file of one's own may say otherwise, an override may not.
IDENTITY = ("name", "version", "title", "task", "protocol", "deviations")


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or YAML file, with `key=value` overrides put in.

    name: "emotion", "superb/er" (a file below recipes/), or the path of a YAML file.
    Raises MendableError for an unknown name or key, naming the nearest right one, and for a wrong value.
    """
    path = find_recipe(name)
    content = read_yaml(path)
    for override in overrides:
        apply_override(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise MendableError(f"Recipe {path}: {explain(error)}") from error


def recipe_names() -> list[str]:
    """The names of the recipes that come with the harness."""
    return sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    for path in (RECIPES / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    names = recipe_names()
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    suggestion = f"Did you mean {near[0]}?" if near else "See --list for the names."
    raise MendableError(f"There is no recipe or YAML file called {name!r}. {suggestion} Known: {', '.join(names)}.")


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MendableError(f"Recipe {path} is not valid YAML: {error}") from error
    except OSError as error:
        raise MendableError(f"Cannot read the recipe {path}: {error.strerror}. Check its permissions.") from error
    if not isinstance(content, dict):
        raise MendableError(f"Recipe {path} holds a {type(content).__name__}; expected keys with values.")
    return content


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set "optimizer.lr=1e-3" in a recipe's content; the value is read as YAML.

    Raises MendableError for a key that no recipe has.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise MendableError(f"-o takes key=value, for example -o optimizer.lr=1e-3; got {override!r}.")
    known = [known for known in all_keys(Recipe) if known not in IDENTITY]
    if key in IDENTITY:
        raise MendableError(
            f"{key!r} says which recipe it is and cannot be overridden; copy the YAML file and change it there."
        )
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        suggestion = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        raise MendableError(f"No recipe has a key {key!r}. {suggestion}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MendableError(f"The value of -o {key} is not valid YAML: {text!r}.") from error
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise MendableError(f"-o {key}: {parent!r} is {content!r} in the recipe, not a section; mend the file.")
    content[last] = value


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of a recipe in dotted form, sections left out."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys += all_keys(section, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def explain(error: ValidationError) -> str:
    """What is wrong with a recipe, in sentences."""
    return " ".join(_sentence(fault) for fault in error.errors())


def _sentence(fault: Mapping[str, Any]) -> str:
    path = [str(part) for part in fault["loc"]]
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        siblings = _keys_beside(path)
        near = difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.5)
        suggestion = f"did you mean {near[0]}?" if near else f"known there: {', '.join(siblings)}."
        return f"There is no key {key!r}; {suggestion}"
    if fault["type"] == "missing":
        return f"The key {key!r} is missing."
    quotes = " (put it in quotes)" if fault["type"] == "string_type" else ""  # YAML reads yes, no, on, off as booleans
    return f"The value of {key!r} is {fault['input']!r}: {str(fault['msg']).lower()}{quotes}."


def _keys_beside(path: Sequence[str]) -> list[str]:
    model: Any = Recipe
    for name in path[:-1]:
        model = model.model_fields[name].annotation
    return list(model.model_fields)
