"""Recipe files: from YAML and `key=value` overrides to a typed recipe; errors on a wrong key suggest the nearest."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from downstream.recipes.recipe import IDENTITY, Recipe
from upstream.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]  # downstream
CHECKOUT = PACKAGE.parent


def shipped(name: str) -> Path:
    """Return a folder that comes with the harness, "recipes" or "results/reference".

    In a checkout it lies at the top level; a wheel holds a copy inside the package (setup.py).
    """
    packaged = PACKAGE / "shipped_files" / name
    return packaged if packaged.is_dir() else CHECKOUT / name


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the harness, sorted."""
    folder = shipped("recipes")
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """Return the YAML file of a recipe: a name below recipes/ or a path.

    Raises UserError, with the nearest right name, where there is none.
    """
    for path in (shipped("recipes") / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    names = recipe_names()
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    suggestion = f"Did you mean {near[0]}?" if near else "See --list for the names."
    raise UserError(f"There is no recipe or YAML file called {name!r}. {suggestion} Known: {', '.join(names)}.")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys and values of a recipe file; raise UserError where it holds none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"Recipe {path} is not valid YAML: {error}") from error
    except OSError as error:
        raise UserError(f"Cannot read the recipe {path}: {error.strerror}. Check its permissions.") from error
    if not isinstance(content, dict):
        raise UserError(f"Recipe {path} holds a {type(content).__name__}; expected keys with values.")
    return content


def validated(content: Mapping[str, Any], kind: type[AnyRecipe], where: str) -> AnyRecipe:
    """Return the content of a file as a typed recipe; where: its name in messages. Raises UserError."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, kind)}") from error


# ---------------------------------------------------------------- overrides


def overridden(content: Mapping[str, Any], overrides: Sequence[str], kind: type[Recipe]) -> dict[str, Any]:
    """Return a recipe's content with overrides such as "optimizer.lr=1e-3" applied; values are read as YAML.

    Raises UserError for a key that recipes of that kind do not have, naming the nearest right one.
    """
    changed = copy.deepcopy(dict(content))
    for override in overrides:
        apply_override(changed, override, kind)
    return changed


def effective(content: Mapping[str, Any], overrides: Sequence[str], kind: type[Recipe]) -> tuple[str, ...]:
    """Return the overrides that change something in the content of a recipe's own file."""
    return tuple(one for one in overrides if overridden(content, [one], kind) != content)


def apply_override(content: dict[str, Any], override: str, kind: type[Recipe]) -> None:
    """Apply one override to a recipe's content."""
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"-o takes key=value, for example -o optimizer.lr=1e-3; got {override!r}.")
    if key in IDENTITY:
        raise UserError(
            f"{key!r} identifies the recipe and cannot be overridden; copy the YAML file and change it there."
        )
    refuse_unknown(key, kind)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"The value of -o {key} is not valid YAML: {text!r}.") from error
    *parents, last = key.split(".")
    for parent in parents:
        if content.get(parent) is None:
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise UserError(f"-o {key}: {parent!r} is {content!r} in the recipe, not a section; fix the file.")
    content[last] = value


def refuse_unknown(key: str, kind: type[Recipe]) -> None:
    """Raise UserError for a key that recipes of that kind do not have."""
    known = [name for name in all_keys(kind) if name not in IDENTITY]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        suggestion = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        raise UserError(f"A recipe of this task has no key {key!r}. {suggestion}")


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every key of a recipe in dotted form, sections left out."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            keys += all_keys(section, f"{prefix}{name}.")
        if section is not field.annotation:  # a value, or a section that may be null
            keys.append(prefix + name)
    return keys


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, if it holds one (or null)."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


# ---------------------------------------------------------------- messages


def explain(error: ValidationError, kind: type[Recipe]) -> str:
    """Return the errors of a recipe as sentences."""
    return " ".join(_sentence(fault, kind) for fault in error.errors())


def _sentence(fault: Mapping[str, Any], kind: type[Recipe]) -> str:
    path = [str(part) for part in fault["loc"]]
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        siblings = _keys_beside(path, kind)
        near = difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.5)
        suggestion = f"did you mean {near[0]}?" if near else f"known there: {', '.join(siblings)}."
        return f"There is no key {key!r}; {suggestion}"
    if fault["type"] == "value_error" and isinstance(fault["input"], dict):  # settings that do not go together
        where = f"{key}: " if key else ""
        return f"{where}{fault['ctx']['error']}."
    if fault["type"] == "missing":
        return f"The key {key!r} is missing."
    quotes = " (put it in quotes)" if fault["type"] == "string_type" else ""  # YAML reads yes, no, on, off as booleans
    return f"The value of {key!r} is {fault['input']!r}: {str(fault['msg']).lower()}{quotes}."


def _keys_beside(path: Sequence[str], kind: type[Recipe]) -> list[str]:
    model: Any = kind
    for name in path[:-1]:
        model = section_of(model.model_fields[name].annotation)
    return list(model.model_fields)
