"""Families by name, and recipes, whose `task` names one."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from pydantic_core import to_jsonable_python

from downstream.recipes import (
    Recipe,
    UnknownKeyError,
    all_keys,
    completed,
    effective,
    find_recipe,
    overridden,
    read_yaml,
    recipe_names,
    validated,
)
from downstream.tasks.base import Family
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl
from upstream.custom import import_file
from upstream.errors import UserError, words_of
from upstream.fingerprint import fingerprint_files
from upstream.out_of_memory import is_out_of_memory

# The families that come with the harness; imported on demand.
FAMILIES = {
    "classification": "downstream.tasks.classification:Classification",
    "recognition": "downstream.tasks.recognition:Recognition",
    "verification": "downstream.tasks.verification:Verification",
}

# Code of external families that the user ran in this process, and what was named for records: by file name and class.
IMPORTED: set[Path] = set()
TRUSTED: dict[str, str] = {}


def find_family(task: str, beside: Path | None = None) -> type[Family]:
    """Return a family by the `task` of a recipe: a name of FAMILIES, or "path/to/module.py:Family".

    beside: folder of the recipe; the path of a module is relative to it, or else to the working directory.
    Raises UserError for a task that is neither, and for a module that cannot be imported or has no such family.
    """
    if task in FAMILIES:
        module, _, name = FAMILIES[task].partition(":")
        found: type[Family] = getattr(importlib.import_module(module), name)
        return found
    path, name = module_file(task, beside)
    family = getattr(imported(path, fingerprint_files([path])), name, None)
    if not (isinstance(family, type) and issubclass(family, Family)):
        raise UserError(f"{path} has no family {name!r}, a class derived from downstream.tasks.Family; fix the task.")
    missing = [one for one in ("recipe_type", "metrics", "chance_means") if not hasattr(family, one)]
    if missing := [*missing, *sorted(family.__abstractmethods__)]:
        raise UserError(f"{path}: the family {name} does not define {', '.join(missing)}; see docs/adding_a_family.md.")
    return family


def family_of_s3prl(theirs: HeadOfS3prl) -> tuple[type[Family], HeadHere] | None:
    """Return a head that s3prl learned and the family of the harness that has such heads; None where none has."""
    for task in FAMILIES:
        family = find_family(task)
        if (head := family.of_s3prl(theirs)) is not None:
            return family, head
    return None


def is_external(task: str) -> bool:
    """Return True for a family whose code is a file of the user's: "path/to/module.py:Family"."""
    return task not in FAMILIES and task.rpartition(":")[0].endswith(".py")


def trust(families: Iterable[str]) -> None:
    """Import external families, "path/to/module.py:Family", whose code the user trusts, for records that name them."""
    for task in families:
        find_family(task)
        TRUSTED[Path(task).name] = task


def trusted(task: str) -> str | None:
    """Return the family from outside that the user trusts for records that name `task`; None where there is none."""
    return TRUSTED.get(Path(task).name)


def family_of_record(task: str, folder: Path | None) -> type[Family]:
    """Return the family of a record, which never brings code to run.

    folder: of the record. A family from outside is one that the user named (`trust`), whatever folder it lies in, or
    the file that was imported already for a recipe that the user ran.
    Raises UserError for any other one from outside, and where its file is not there.
    """
    if is_external(task):
        if (given := trusted(task)) is not None:
            return find_family(given)
        if module_file(task, folder)[0] not in IMPORTED:
            raise UserError(
                f"The family {task} is not part of wavprobe, and its code would run. Read it, and name the file that "
                f"you trust: --family PATH/{Path(task).name}."
            )
    return find_family(task, folder)


def family_of(recipe: Recipe) -> Family:
    """Return the family of a recipe, for this recipe."""
    return find_family(recipe.task)(recipe)


@contextmanager
def errors_named(task: str) -> Iterator[None]:
    """Turn whatever the code of an external family raises into a UserError with the line of its file."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or task in FAMILIES or is_out_of_memory(error):
            raise
        file = module_file(task)[0]
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename) == file]
        if not lines:
            raise
        raise UserError(f"{file} fails at line {lines[-1]}: {words_of(error)}. Fix the family there.") from error


def source_digest(task: str) -> str | None:
    """Return the digest of the file that defines an external family; None for those of the harness.

    It identifies a run together with the settings. Files that the module imports are not in it.
    """
    if task in FAMILIES:
        return None
    return fingerprint_files([module_file(task)[0]])


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and apply `key=value` overrides.

    name: "emotion", "superb/er" (a file below recipes/), or the path of a YAML file.
    Raises UserError for an unknown name or key, naming the nearest right one, and for a wrong value.
    """
    return load_overridden(name, overrides)[0]


def load_overridden(name: str | Path, overrides: Sequence[str]) -> tuple[Recipe, tuple[str, ...]]:
    """Load a recipe as `load_recipe`; return it and the overrides that change something in its own file.

    Raises UserError as `load_recipe` does.
    """
    path = find_recipe(str(name))
    content, kind = read_typed(path)
    overrides = completed(overrides, content)
    try:
        changed = overridden(content, overrides, kind)
    except UnknownKeyError as error:
        is_section = any(key.startswith(f"{error.key}.") for key in all_keys(kind))
        if is_section or not (tasks := " and ".join(having(error.key))):
            raise
        raise UserError(
            f"A recipe of this task has no key {error.key!r}: {path} is of {content['task']}, the key of {tasks}."
        ) from error
    return validated(changed, kind, f"Recipe {path}"), effective(content, overrides, kind)


def having(key: str) -> list[str]:
    """Return the families of the harness whose recipes have a key."""
    return [task for task in FAMILIES if key in all_keys(find_family(task).recipe_type)]


def differences(recipe: Recipe) -> tuple[str, ...]:
    """Return what a recipe changes of the shipped one of its name, as overrides; nothing where none has its name."""
    return differences_of(recipe, load_recipe(recipe.name)) if recipe.name in recipe_names() else ()


def unnamed_differences(recipe: Recipe, overrides: Sequence[str]) -> tuple[str, ...]:
    """Return what a recipe, of a copied file, changes of the shipped one of its name beside overrides that it has.

    A key that an override names counts as told, and so does a section that it is in, whatever its value.
    """
    if recipe.name not in recipe_names():
        return ()
    try:
        original = load_recipe(recipe.name, overrides)
    except UserError:  # they do not fit the shipped recipe by themselves
        original = load_recipe(recipe.name)
    named = [f"{one.partition('=')[0]}." for one in overrides]

    def is_told(difference: str) -> bool:
        key = f"{difference.partition('=')[0]}."
        return any(key.startswith(name) or name.startswith(key) for name in named)

    return tuple(one for one in differences_of(recipe, original) if not is_told(one))


def differences_of(recipe: Recipe, original: Recipe) -> tuple[str, ...]:
    """Return what a recipe changes of another one, as overrides."""
    return tuple(
        f"{key}={written(value_at(recipe, key))}"
        for key in all_keys(type(recipe))
        if value_at(recipe, key) != value_at(original, key)
    )


def written(value: object) -> str:
    """Return a setting as -o takes it."""
    plain = to_jsonable_python(value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def value_at(recipe: Recipe, key: str) -> object:
    """Return the setting of a dotted key; None within a section that is null or that the recipe does not have."""
    value: object = recipe
    for name in key.split("."):
        value = getattr(value, name, None)
    return value


def read_typed(path: Path) -> tuple[dict[str, Any], type[Recipe]]:
    """Return the content of a recipe file and the type of its family's recipes.

    The path of an external family no longer depends on where the recipe lies: it is relative to the working directory
    if it lies below that, and else absolute.

    Raises UserError for a file without a task, or with one that cannot be found.
    """
    content = read_yaml(path)
    task = content.get("task")
    if "downstream_expert" in content:
        raise UserError(
            f"{path} is a configuration of s3prl and no recipe; choose a recipe (-d superb/er), and give what differs "
            "from it with -o, also in s3prl's words: -o config.optimizer.lr=1e-3."
        )
    if not isinstance(task, str):
        raise UserError(f"Recipe {path}: The key 'task' is missing; name a family: {', '.join(FAMILIES)}.")
    try:
        family = find_family(task, path.parent)
        if task not in FAMILIES:
            module, name = module_file(task, path.parent)
            content["task"] = f"{from_here(module)}:{name}"
    except UserError as error:
        raise UserError(f"Recipe {path}: {error}") from error
    return content, family.recipe_type


def module_file(task: str, beside: Path | None = None) -> tuple[Path, str]:
    """Return file and class of "path/to/module.py:Family"; raise UserError where it is not of that form."""
    file, _, name = task.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UserError(
            f"There is no task {task!r}; the tasks are {', '.join(FAMILIES)}, or path/to/module.py:Family for a family "
            "of your own."
        )
    for candidate in ([beside / file] if beside else []) + [Path(os.path.expanduser(file))]:  # records say ~
        if candidate.is_file():
            return candidate.resolve(), name
    places = " or ".join(str(place) for place in dict.fromkeys([beside or Path(), Path()]))
    raise UserError(f"There is no file {file} in {places}, which the task {task!r} names; fix the path.")


def from_here(path: Path) -> Path:
    """Return a path relative to the working directory if it lies below that, as records had better have it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@cache
def imported(path: Path, digest: str) -> ModuleType:
    """Import a Python file, once for each text that it has had; digest: of the text."""
    IMPORTED.add(path)
    return import_file(path)
