"""Names of recipes and suites: those that are shipped, s3prl's, and files; a wrong one is answered with the nearest."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from downstream.recipes.files import LONGEST_SHOWN, brief, read_yaml, shipped
from upstream.errors import UserError
from upstream.names import by_spelling
from upstream.nearest import did_you_mean, plain
from upstream.shipped_tables import read_rows, row_of_name, words_of_cell

SUITES = "suites"  # the folder of the recipes' that holds lists of them
PRETRAINING = "pretrain"  # the folder of those that pre-train a model


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the harness, sorted."""
    folder = shipped("recipes")
    files = [path for path in folder.rglob("*.yaml") if path.parent.name not in (SUITES, PRETRAINING)]
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in files)


def suite_names() -> list[str]:
    """Return the names of the suites that come with the harness, sorted."""
    return sorted(path.stem for path in (shipped("recipes") / SUITES).glob("*.yaml"))


def pretraining_names() -> list[str]:
    """Return the names of the pre-trainings that come with the harness, sorted."""
    return sorted(path.stem for path in (shipped("recipes") / PRETRAINING).glob("*.yaml"))


def find_pretraining(name: str) -> Path:
    """Return the YAML file of a pre-training: a name below recipes/pretrain/, or a path.

    Raises UserError, with the nearest right name, where there is none.
    """
    if (shipped_one := shipped_pretraining(name)) is not None:
        return shipped_one
    if name.endswith((".yaml", ".yml")) and os.path.isfile(name):
        return Path(name)
    stem = name.removeprefix(f"{PRETRAINING}/")[:LONGEST_SHOWN].removesuffix(".yaml")
    meant = did_you_mean(stem, pretraining_names()) or f"Known: {', '.join(pretraining_names())}."
    if name in recipe_names():
        meant = f"It is the recipe of a task, which `wavprobe run -u UPSTREAM -d {name}` carries out."
    raise UserError(f"There is no pre-training or YAML file called {brief(name)}. {meant}")


def shipped_pretraining(name: str) -> Path | None:
    """Return the YAML file of a pre-training that comes with the harness, in any spelling; None for another name."""
    stem = plain(name.removeprefix(f"{PRETRAINING}/"))
    same = [one for one in pretraining_names() if plain(one) == stem]
    return shipped("recipes") / PRETRAINING / f"{same[0]}.yaml" if same else None


def is_pretraining(name: str) -> bool:
    """Return True for the name of a pre-training, or a YAML file with stages of one."""
    if shipped_pretraining(name) is not None:
        return True
    return name.endswith((".yaml", ".yml")) and os.path.isfile(name) and "stages" in read_yaml(Path(name))


def find_suite(name: str) -> Path | None:
    """Return the YAML file of a suite: a shipped one, in any spelling, or a file with a list of recipes.

    None for anything else, a recipe among them: `find_recipe` knows those, and what may have been meant.
    """
    if same := [one for one in suite_names() if plain(one) == plain(name)]:
        return shipped("recipes") / SUITES / f"{same[0]}.yaml"
    if name.endswith((".yaml", ".yml")) and os.path.isfile(name) and "recipes" in read_yaml(Path(name)):
        return Path(name)
    return None


def find_recipe(name: str) -> Path:
    """Return the YAML file of a recipe: a name below recipes/, a path, or s3prl's name of a task of SUPERB.

    Raises UserError, with the nearest right name, where there is none, and for a task of s3prl that is not here.
    """
    names = recipe_names()
    if name in names:
        return shipped_recipe(name)
    there = False
    with contextlib.suppress(OSError, ValueError):  # too long for a name, a zero byte
        there = bool(name) and os.path.lexists(name)
    if there and not os.path.isdir(name):
        return Path(name)
    if len(same := [one for one in names if plain(one) == plain(name)]) == 1:
        return shipped_recipe(same[0])
    task = task_of_s3prl(name)
    if task and task["recipe"]:  # a folder of that name is a corpus rather than a recipe
        return shipped_recipe(task["recipe"])
    if there:
        return Path(name)
    known = f"Known: {', '.join(names)}; and the suites {', '.join(suite_names())}."
    if task:
        raise UserError(f"There is no recipe for s3prl's {name} yet ({task['what']}). {known}")
    suggestion = (
        did_you_mean(name[:LONGEST_SHOWN].removesuffix(".yaml"), (*names, *suite_names()))
        or "See --list for the names."
    )
    if by_spelling(name):
        suggestion = "It is an upstream, which goes after -u."
    if name.startswith(f"{PRETRAINING}/") and shipped_pretraining(name) is not None:
        suggestion = f"It is a pre-training, which `wavprobe pretrain {name}` carries out."
    if find_suite(name) is not None:
        suggestion = f"It is a suite, whose recipes `wavprobe run -u UPSTREAM -d {name}` carries out; name one here."
    raise UserError(f"There is no recipe or YAML file called {brief(name)}. {suggestion} {known}")


def shipped_recipe(name: str) -> Path:
    """Return the file of a recipe that comes with the harness."""
    return shipped("recipes") / f"{name}.yaml"


def task_of_s3prl(name: str) -> dict[str, str] | None:
    """Return the line of s3prl.csv for a task of s3prl, or SUPERB's abbreviation of one; None for any other name."""
    return row_of_name(shipped("recipes") / "s3prl.csv", name.casefold().removeprefix("superb/"))


def names_in_s3prl(recipe: str) -> list[str]:
    """Return the names that a recipe has in s3prl, its own excepted: "speech_commands" and "ks" of superb/ks."""
    rows = [row for row in read_rows(shipped("recipes") / "s3prl.csv") if row["recipe"] == recipe]
    return [name for row in rows for name in words_of_cell(row, "names") if name not in recipe_names()]


def note_on_name(name: str) -> str | None:
    """Return a sentence on a recipe that s3prl has another one for under that name; None for any other."""
    task = task_of_s3prl(name)
    if task is None or name == task["recipe"] or name not in recipe_names():
        return None
    return f"{name} is the clean recipe of this harness; s3prl's {name}, SUPERB's protocol, is {task['recipe']}."
