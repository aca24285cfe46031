"""The recipes of a probe: what was typed of each, and the sweep over layers and seeds that a probe adds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.data import Corpus
from downstream.experiment import chosen_recipe
from downstream.recipes import Recipe
from upstream.errors import UserError
from upstream.nearest import did_you_mean

SEEDS = (0, 1, 2)  # of the heads, where neither the user nor the recipe lists any
EVERY_LAYER = "sweep.layer=[all, best]"  # the sum, which is the primary score, every layer, and development's choice
OF_ONE = ":"  # between a recipe and what is said of it alone: keyword:speech_commands_v1, asr:training.steps=200


@dataclass(frozen=True)
class ProbedRecipe:
    """A recipe of a probe, with its sweep.

    changed: the overrides that change something, for the record. words: how the same run is typed, after the upstream.
    """

    recipe: Recipe
    changed: tuple[str, ...]
    data: Path | None
    corpus: str | Corpus | None
    words: tuple[str, ...]

    def command(self, upstream: Sequence[str]) -> str:
        """Return the command of the run alone; upstream: the words of its upstream."""
        return shlex.join(["wavprobe", "run", *upstream, *self.words])


def probed_recipes(
    recipes: Sequence[str | Recipe],
    *,
    seeds: Sequence[int] | None,
    overrides: Sequence[str] = (),
    data: Sequence[str] = (),
    corpora: Sequence[str] = (),
    corpus: Corpus | None = None,
) -> list[ProbedRecipe]:
    """Return the recipes of a probe, each with what was said of all and of it alone.

    seeds: of the heads; None for the recipe's own, or SEEDS where it lists none. A family that learns nothing has no
    use for several.
    overrides, data, corpora: each for all recipes, or for one of them: "asr:training.steps=200"; the last one counts.
    corpus: one that was read already, for all recipes.

    Raises UserError for an unknown recipe or setting, and for a sweep without single layers.
    """
    names = [one.name if isinstance(one, Recipe) else one for one in recipes]
    refuse_repeated(names, "recipe", "-d")
    refuse_others(overrides, names)
    return [
        probed_recipe(
            recipe,
            own(name, overrides, names),
            seeds,
            next((Path(one) for one in reversed(own(name, data, names))), None),
            corpus or next(reversed(own(name, corpora, names)), None),
        )
        for name, recipe in zip(names, recipes, strict=True)
    ]


def probed_recipe(
    recipe: str | Recipe,
    overrides: Sequence[str],
    seeds: Sequence[int] | None,
    data: Path | None,
    corpus: str | Corpus | None,
) -> ProbedRecipe:
    """Return one recipe with its sweep over layers and seeds."""
    typed, _ = chosen_recipe(recipe, overrides, corpus)
    added = [] if any(one.startswith("sweep.layer=") for one in overrides) else [EVERY_LAYER]
    if seeds is None and not typed.sweep.seed and typed.learned is not None:
        seeds = SEEDS
    if seeds is not None:
        added.append(f"sweep.seed={json.dumps(list(seeds))}")
    chosen, changed = chosen_recipe(recipe, [*overrides, *added], corpus)
    if not any(isinstance(layer, int) or layer == "all" for layer in chosen.sweep.layer):
        raise UserError(
            f"sweep.layer of {chosen.name} has no single layer, of which a probe is made; leave it out for all of "
            "them, or type for example -o 'sweep.layer=[mix, 0, 6, 12]'."
        )
    words = ["-d", recipe if isinstance(recipe, str) else recipe.name]
    words += [] if corpus is None else ["-c", corpus if isinstance(corpus, str) else corpus.name]
    words += [] if data is None else ["--data", str(data)]
    words += [word for one in (*overrides, *added) for word in ("-o", one)]
    return ProbedRecipe(chosen, changed, data, corpus, tuple(words))


# ---------------------------------------------------------------- what is said of one recipe alone


def own(name: str, said: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return what is said of a recipe: what is said of all, and of it alone, in the order typed."""
    found = []
    for one in said:
        of, mark, rest = one.partition(OF_ONE)
        if not (mark and of in names):
            found.append(one)
        elif of == name:
            found.append(rest)
    return found


def refuse_others(overrides: Sequence[str], names: Sequence[str]) -> None:
    """Raise UserError for an override of a recipe that is not probed."""
    for one in overrides:
        of, mark, _ = one.partition("=")[0].partition(OF_ONE)
        if mark and of not in names:
            meant = did_you_mean(of, names) or f"The recipes are {', '.join(names)}."
            raise UserError(f"-o {one} is for the recipe {of}, which is not probed. {meant}")


def refuse_repeated(names: Sequence[str], what: str, flag: str) -> None:
    """Raise UserError where nothing is named, or something twice."""
    if not names:
        raise UserError(f"No {what} is named; add {flag}.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"The {what} {twice} is named twice; leave one out.")


def by_recipe(said: Mapping[str, object] | object | None) -> list[str]:
    """Return a value for all recipes, or a mapping of recipes to theirs, as it is typed."""
    if said is None:
        return []
    return [f"{name}{OF_ONE}{value}" for name, value in said.items()] if isinstance(said, Mapping) else [str(said)]
