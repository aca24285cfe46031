"""Recipes of pre-trainings, from their files."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.recipes import PretrainingRecipe, find_pretraining, overridden, read_yaml, validated


def load_pretraining(name: str, overrides: Sequence[str] = (), seed: int | None = None) -> PretrainingRecipe:
    """Load a pre-training: a name below recipes/pretrain/, or a path.

    overrides: "key=value" texts, as "batch.seconds=48"; a list has a single key, "stages=[...]". seed: instead of the
    recipe's.
    Raises UserError for a name, a key or a value that does not fit, with what would.
    """
    path = find_pretraining(name)
    content = overridden(read_yaml(path), overrides, PretrainingRecipe)
    if seed is not None:
        content["seed"] = seed
    return validated(content, PretrainingRecipe, f"Recipe {path}")
