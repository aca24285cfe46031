"""What a record says of its recipe: that it tells what was changed of it, and what a reader should know of that."""

from __future__ import annotations

from collections.abc import Iterator

from downstream.recipes import Recipe, recipe_names
from downstream.results.caveats import CHANGED, DEVIATION, FINE_TUNED, GIVEN, UNTRAINED, departures
from downstream.results.checking.numbers import name_of, written
from downstream.results.given import GIVEN_PROTOCOL
from downstream.results.record import Result
from downstream.tasks import Family, load_recipe, unnamed_differences


def contradictions_of_recipe(record: Result, recipe: Recipe, family: Family) -> Iterator[str]:
    """Yield a clause for each setting that was changed in silence, and for each caveat that was left out.

    recipe: the one that the record says was run. Only caveats that follow from the record itself are expected, and only
    by how they begin: an earlier version may have put them in other words.
    """
    yield from of_changes(record, recipe)
    yield from of_protocol(record, recipe)
    yield from of_caveats(record, recipe, family)


def of_changes(record: Result, recipe: Recipe) -> Iterator[str]:
    """Yield a clause for each setting that is not the one of the recipe's version, and that no override names."""
    if not is_current(recipe):
        return  # what an earlier version had is not known
    for one in unnamed_differences(recipe, record.recipe.overrides):
        yield f"its settings have {one:.80}, which {recipe.name} of this version has not, and no override names it"


def of_protocol(record: Result, recipe: Recipe) -> Iterator[str]:
    """Yield clauses on a protocol that is not the recipe's, and on encoders that are not those of its heads."""
    expected = recipe.protocol_of_run if record.given is None else GIVEN_PROTOCOL
    if record.recipe.protocol != expected:
        yield f"it says that its protocol is {record.recipe.protocol}, and that of such a run is {expected}"
    tuned = record.finetuning
    if (tuned is None) != (recipe.finetune is None):
        yield "it says of its encoder that it was fine-tuned, or frozen, and its recipe says otherwise"
    elif tuned is not None and tuned.encoders.keys() != (heads := set(map(name_of, record.heads))):
        yield f"it has encoders of {written(sorted(tuned.encoders))}, and heads {written(sorted(heads))}"


def is_current(recipe: Recipe) -> bool:
    """Return True for a recipe with the name and the version of one that comes with the harness."""
    return recipe.name in recipe_names() and load_recipe(recipe.name).version == recipe.version


def of_caveats(record: Result, recipe: Recipe, family: Family) -> Iterator[str]:
    """Yield a clause for each caveat that follows from the record and is not among its own."""
    only = record.options.layer if record.options else None
    expected = [f"{DEVIATION}: {deviation}" for deviation in recipe.deviations]
    left = departures(record.recipe.overrides, only, record.layers[0].layer, family)
    if left and recipe.protocol == "superb":
        expected.append(CHANGED)
    if recipe.finetune is not None:
        expected.append(FINE_TUNED)
    if record.given is not None:
        expected.append(GIVEN)
    if record.upstream.random_init:
        expected.append(UNTRAINED)
    if diverged := sum(fit.diverged is not None for fit in record.grid):
        expected.append(f"{diverged} of {len(record.grid)} heads diverged")
    for beginning in expected:
        if not any(caveat.startswith(beginning) for caveat in record.caveats):
            yield f"its caveats lack “{beginning:.80}”"
