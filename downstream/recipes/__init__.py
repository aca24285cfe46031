"""Recipes: a task as typed data. `recipe.py` first, then `sections.py`; `files.py` reads YAML and overrides."""

from downstream.recipes.files import (
    CHECKOUT,
    all_keys,
    effective,
    find_recipe,
    overridden,
    read_yaml,
    recipe_names,
    shipped,
    validated,
)
from downstream.recipes.options import Options
from downstream.recipes.recipe import LearnedRecipe, Recipe
from downstream.recipes.sections import (
    BEST,
    Closed,
    CorpusSettings,
    CropSettings,
    EffectsSettings,
    OptimizerSettings,
    PositiveNumber,
    Seed,
    StoreSettings,
    SweepSettings,
    TrainingSettings,
    later,
)

__all__ = [
    "all_keys",
    "BEST",
    "CHECKOUT",
    "Closed",
    "CorpusSettings",
    "CropSettings",
    "EffectsSettings",
    "LearnedRecipe",
    "OptimizerSettings",
    "Options",
    "PositiveNumber",
    "Recipe",
    "Seed",
    "StoreSettings",
    "SweepSettings",
    "TrainingSettings",
    "effective",
    "find_recipe",
    "later",
    "overridden",
    "read_yaml",
    "recipe_names",
    "shipped",
    "validated",
]
