"""What is typed of all recipes of a probe or suite, or of one alone with its name before it: asr:training.steps=200."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from upstream.errors import UserError
from upstream.nearest import did_you_mean

OF_ONE = ":"  # between a recipe and what is said of it alone


def addressed(said: str, names: Sequence[str]) -> tuple[str | None, str]:
    """Return the recipe that something is said of, None for all of them, and what is said."""
    name, mark, rest = said.partition(OF_ONE)
    return (name, rest) if mark and name in names else (None, said)


def said_of(name: str, said: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return what is said of a recipe: what is said of all, and of it alone, in the order typed."""
    found = [addressed(one, names) for one in said]
    return [rest for of, rest in found if of in (None, name)]


def refuse_others(overrides: Sequence[str], names: Sequence[str]) -> None:
    """Raise UserError for an override of a recipe that is not among those that are run."""
    for one in overrides:
        name, mark, _ = one.partition("=")[0].partition(OF_ONE)
        if mark and name not in names:
            meant = did_you_mean(name, names) or f"The recipes are {', '.join(names)}."
            raise UserError(f"-o {one} is for the recipe {name}, which is not run here. {meant}")


def by_recipe(said: Mapping[str, object] | object | None) -> list[str]:
    """Return a value for all recipes, or a mapping of recipes to theirs, as it is typed."""
    if said is None:
        return []
    return [f"{name}{OF_ONE}{value}" for name, value in said.items()] if isinstance(said, Mapping) else [str(said)]
