"""Recipes of pre-trainings, from their files."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.pretraining.first_model import config_of
from downstream.recipes import (
    PretrainingRecipe,
    UnknownKeyError,
    find_pretraining,
    overridden,
    read_yaml,
    validated,
)
from upstream.errors import UserError

LISTS = ("speech", "stages")  # of sections


def load_pretraining(name: str, overrides: Sequence[str] = (), seed: int | None = None) -> PretrainingRecipe:
    """Load a pre-training: a name below recipes/pretrain/, or a path.

    overrides: "key=value" texts, as "batch.seconds=48"; a list has a single key, "stages=[...]". seed: instead of the
    recipe's.
    Raises UserError for a name, a key or a value that does not fit, with what would.
    """
    path = find_pretraining(name)
    try:
        content = overridden(read_yaml(path), overrides, PretrainingRecipe)
    except UnknownKeyError as error:
        section, fix = error.key.partition(".")[0], error.fix
        if section in LISTS:
            fix = f"`{section}` is a list, which is set as a whole: -o '{section}=[…]'."
        raise UserError(f"A pre-training has no key {error.key!r}. {fix}") from error
    if seed is not None:
        content["seed"] = seed
    recipe = validated(content, PretrainingRecipe, f"Recipe {path}")
    config_of(recipe)
    return recipe
