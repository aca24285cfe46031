"""The recipes of a probe: what was typed of each, and the sweep over layers and seeds that a probe adds."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.data import Corpus
from downstream.experiment import chosen_recipe
from downstream.recipes import OF_ONE, Recipe, refuse_others, said_of
from upstream.errors import UserError

# Of the heads, where neither the user nor the recipe lists any. A run that chooses among layers learns each of them
# once, so that a probe takes less than twice its time: 1.6 times, and 2.4 times with three seeds (docs/probing.md).
SEEDS = (0, 1)
EVERY_LAYER = "sweep.layer=[all, best]"  # the sum, which is the primary score, every layer, and development's choice


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

    seeds: of the heads that are learned; None for the recipe's own, or SEEDS where it lists none.
    overrides, data, corpora: each for all recipes, or for one of them: "asr:training.steps=200"; the last one counts.
    corpus: one that was read already, for all recipes.

    Raises UserError for an unknown recipe or setting, and for a sweep without single layers.
    """
    names = [one.name if isinstance(one, Recipe) else one for one in recipes]
    refuse_repeated(names, "recipe", "-d")
    refuse_others(overrides, names)
    found = []
    for name, recipe in zip(names, recipes, strict=True):
        own_data = next((Path(one) for one in reversed(said_of(name, data, names))), None)
        own_corpus = corpus or next(reversed(said_of(name, corpora, names)), None)
        try:
            found.append(probed_recipe(recipe, said_of(name, overrides, names), seeds, own_data, own_corpus))
        except UserError as error:
            if len(names) == 1 or not overrides:
                raise
            hint = f"An override of one recipe alone has its name before it: -o {names[0]}{OF_ONE}KEY=VALUE."
            raise UserError(f"{name}: {error} {hint}") from error
    return found


def probed_recipe(
    recipe: str | Recipe,
    overrides: Sequence[str],
    seeds: Sequence[int] | None,
    data: Path | None,
    corpus: str | Corpus | None,
) -> ProbedRecipe:
    """Return one recipe with its sweep over layers and seeds."""
    typed, _ = chosen_recipe(recipe, overrides, corpus)
    if typed.finetune is not None:
        raise UserError(
            f"A probe compares the layers of a frozen encoder, and {typed.name} is to tune it; leave finetune out, "
            "or fine-tune with wavprobe run, and probe the encoder that comes out."
        )
    added = [] if any(one.startswith("sweep.layer=") for one in overrides) else [EVERY_LAYER]
    if typed.learned is None:  # nothing is drawn
        seeds = None
    elif seeds is None and not typed.sweep.seed:
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


def refuse_repeated(names: Sequence[str], what: str, flag: str) -> None:
    """Raise UserError where nothing is named, or something twice."""
    if not names:
        raise UserError(f"No {what} is named; add {flag}.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"The {what} {twice} is named twice; leave one out.")
