"""Recipes: a task as data. A YAML file becomes a typed, closed object; a wrong key names the nearest right one."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, PositiveInt, ValidationError, model_validator

from downstream.settings import (
    FAMILIES,
    Closed,
    CorpusSettings,
    DecodingSettings,
    HeadSettings,
    MetricName,
    OptimizerSettings,
    SplitSettings,
    StoreSettings,
    SweepSettings,
    TextSettings,
    TrainingSettings,
    TrialsSettings,
)
from upstream.errors import MendableError

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class Recipe(Closed):
    """A task: what to learn, from what, how, and how it is scored.

    version is raised whenever a change can move a score.
    """

    name: str = Field(pattern=r"^\w[\w-]*(/\w[\w-]*)*$", description="also its folder below the results")
    version: PositiveInt
    title: str
    task: Literal["classification", "recognition", "verification"]
    protocol: Literal["clean", "superb", "demo"]
    corpus: CorpusSettings
    split: SplitSettings
    head: HeadSettings = HeadSettings()
    optimizer: OptimizerSettings
    training: TrainingSettings
    sweep: SweepSettings = SweepSettings()
    store: StoreSettings = StoreSettings()
    text: TextSettings = TextSettings()
    decoding: DecodingSettings = DecodingSettings()
    trials: TrialsSettings = TrialsSettings()
    primary: MetricName = Field(description="the score that the leaderboard shows")
    deviations: tuple[str, ...] = Field(default=(), description="where it departs from the protocol it follows")

    @model_validator(mode="after")
    def parts_that_fit_the_task(self) -> Recipe:
        for key, metric in (("primary", self.primary), ("training.select", self.select)):
            if metric is not None and metric not in FAMILIES[self.task]:
                raise ValueError(f"{key} is {metric}; a task of {self.task} has {', '.join(FAMILIES[self.task])}")
        if self.task == "classification" and not self.corpus.label:
            raise ValueError("corpus.label is missing: which column of labels is to be learned")
        if self.task != "classification" and self.training.sampling.endswith("balanced"):
            raise ValueError(
                "balanced sampling is for classes, which this task has not; choose training.sampling=shuffled"
            )
        if self.training.sampling == "superb_buckets" and self.task != "recognition":
            raise ValueError("superb_buckets is SUPERB's speech recognition; choose training.sampling=shuffled")
        if self.training.crop is not None and self.training.crop.of == "states" and self.task == "classification":
            raise ValueError("training.crop.of is states, and a classifier reads means of whole utterances; use audio")
        if self.decoding.method == "greedy" and self.decoding.language_model is not None:
            raise ValueError("greedy decoding takes no language model; choose decoding.method=beam")
        if self.split.rule == "superb_ks" and self.corpus.silence is None:
            raise ValueError("split.rule superb_ks cuts silence from noise; corpus.silence says which label and name")
        if self.split.rule == "speaker_folds" and self.corpus.silence is not None:
            raise ValueError(
                "noise has no speakers to make folds of; choose split.rule published, or no corpus.silence"
            )
        return self

    @property
    def select(self) -> str:
        """The metric that chooses the step."""
        return self.training.select or self.primary


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


def effective(name: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that say something else than the recipe's own file."""
    own = read_yaml(find_recipe(name))

    def differs(override: str) -> bool:
        content = copy.deepcopy(own)
        apply_override(content, override)
        return content != own

    return tuple(override for override in overrides if differs(override))


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
        if content.get(parent) is None:
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise MendableError(f"-o {key}: {parent!r} is {content!r} in the recipe, not a section; mend the file.")
    content[last] = value


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of a recipe in dotted form, sections left out."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            keys += all_keys(section, f"{prefix}{name}.")
        if section is not field.annotation:  # a value, or a section that may be null
            keys.append(prefix + name)
    return keys


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, if it holds one (or null)."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


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
    if fault["type"] == "value_error" and isinstance(fault["input"], dict):  # what does not go together
        where = f"{key}: " if key else ""
        return f"{where}{fault['ctx']['error']}."
    if fault["type"] == "missing":
        return f"The key {key!r} is missing."
    quotes = " (put it in quotes)" if fault["type"] == "string_type" else ""  # YAML reads yes, no, on, off as booleans
    return f"The value of {key!r} is {fault['input']!r}: {str(fault['msg']).lower()}{quotes}."


def _keys_beside(path: Sequence[str]) -> list[str]:
    model: Any = Recipe
    for name in path[:-1]:
        model = section_of(model.model_fields[name].annotation)
    return list(model.model_fields)
