"""What makes scores comparable: a column is one question to every encoder, a row is what was asked.

Two records stand in one column where everything but the encoder is the same: recipe, version, protocol, corpus (every
row of it, audio included), settings, metric and test part. They stand in one row where what was read is the same: the
weights, their precision, and the layer setting. In the settings of a question are neither seeds, which are repetitions,
nor learning rates, among which development chooses, nor the way in which states are stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from downstream.recipes import BEST, CHOSEN, FINE_TUNED, WITH_DEFAULTS, find_recipe, read_yaml, recipe_names
from downstream.results import Result
from downstream.tasks import find_family, is_external
from upstream.names import BY_REPOSITORY

REPETITIONS = ("sweep.seed", "training.order_seed")
COMPETING = ("optimizer.lr", "finetune.lr", "sweep.lr", "store")  # development chooses among runs that differ in these
OF_THE_ROW = ("sweep.layer",)
DESCRIPTIVE = ("title", "deviations", "name", "version", "protocol", "task", "corpus.name")  # or named by themselves


@dataclass(frozen=True)
class Question:
    """A column.

    fingerprint: of the corpus; settings: as JSON, all that the question depends on.
    """

    protocol: str
    recipe: str
    version: int
    corpus: str
    fingerprint: str
    settings: str
    metric: str
    part: str


@dataclass(frozen=True)
class Asked:
    """A row: an upstream as it was read.

    identity: fingerprint of its states; of an untrained one, whose seed is a repetition, its name and shape.
    layer: the layer setting in words, "layer 4", "best layer", "weighted sum"; "" where it is the recipe's own.
    finetuned: True where it learned with the head.
    """

    identity: str
    random_init: bool
    dtype: str
    layer: str
    finetuned: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """What sets it apart from the upstream as it is read by default, in words."""
        precision = "" if self.dtype == "float32" else self.dtype
        tuned = FINE_TUNED if self.finetuned else ""
        return tuple(filter(None, ("untrained" if self.random_init else "", tuned, precision, self.layer)))


def question_of(result: Result) -> Question:
    """Return the column of a record."""
    recipe = result.recipe
    settings = settings_of(result)
    for key in (*REPETITIONS, *COMPETING, *OF_THE_ROW, *DESCRIPTIVE):
        remove(settings, key)
    return Question(
        recipe.protocol,
        recipe.name,
        recipe.version,
        result.corpus.name,
        result.corpus.fingerprint,
        json.dumps(settings, sort_keys=True),
        result.primary.name,
        result.primary.part,
    )


def asked_of(result: Result) -> Asked:
    """Return the row of a record."""
    upstream = result.upstream
    shape = f"{known_name(result)}, {upstream.layers} x {upstream.dim}"
    identity = shape if upstream.random_init else upstream.fingerprint
    setting, own = result.layers[0].layer, recipes_layer(result)
    layer = "" if setting == own else layer_words(setting)
    return Asked(identity, upstream.random_init, upstream.dtype, layer, result.finetuning is not None)


def recipes_layer(result: Result) -> int | str | None:
    """Return the layer setting whose score is primary where nobody changes it: of the recipe's file, or its record."""
    if result.finetuning is not None:  # a recipe's choice among layers is of frozen encoders
        return None
    recipe = result.recipe
    own = {"sweep": {"layer": []}} if was_layer_changed(result) else recipe.resolved
    shipped = shipped_recipe(recipe.name)
    if shipped is not None and shipped["version"] == recipe.version:
        own = shipped
    layers = taken(own, "sweep.layer") or ["mix"]
    first: int | str = layers if isinstance(layers, str | int) else layers[0]
    return None if first in ("mix", "all") else first


@cache
def shipped_recipe(name: str) -> dict[str, Any] | None:
    """Return the file of a recipe that comes with the harness; None for a recipe of somebody's own."""
    return read_yaml(find_recipe(name)) if name in recipe_names() else None


def was_layer_changed(result: Result) -> bool:
    """Return True where the layer setting was typed, as an override or with -l."""
    is_typed = any(one.startswith("sweep.layer=") for one in result.recipe.overrides)
    return is_typed or (result.layers[0].layer is not None and not taken(result.recipe.resolved, "sweep.layer"))


def layer_words(layer: int | str | None) -> str:
    """Return a layer setting in words."""
    words: dict[int | str | None, str] = {
        None: "weighted sum",
        BEST: "best layer",
        CHOSEN: "weighted sum or best layer",
    }
    return words.get(layer, f"layer {layer}")


def competing_of(result: Result) -> str:
    """Return the settings, as JSON, that development chooses among, so that runs with the same are repetitions."""
    settings = settings_of(result)
    return json.dumps({key: taken(settings, key) for key in COMPETING}, sort_keys=True)


def known_name(result: Result) -> str:
    """Return the catalogue's name of an upstream, however it was typed; as it was recorded where it is in none."""
    row = BY_REPOSITORY.get(result.upstream.source)
    return result.upstream.name if row is None else row.name


def settings_of(result: Result) -> dict[str, Any]:
    """Return the settings of a record, of which those that were added later count only where they are used.

    The code of a family from outside is not run for this; its settings are taken as they are recorded.
    """
    resolved: dict[str, Any] = json.loads(json.dumps(result.recipe.resolved))
    if is_external(result.task):
        return resolved
    try:
        return find_family(result.task).recipe_type.model_validate(resolved).question()
    except ValidationError:  # of an earlier version, whose settings had other names
        return resolved


def taken(settings: Mapping[str, Any], key: str) -> Any:
    """Return the setting of a dotted key; None where there is none."""
    value: Any = settings
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def remove(settings: dict[str, Any], key: str) -> None:
    """Remove the setting of a dotted key, if it is there."""
    section, _, name = key.rpartition(".")
    inside = taken(settings, section) if section else settings
    if isinstance(inside, dict):
        inside.pop(name, None)


def flat(settings: str) -> dict[str, str]:
    """Return settings in JSON as dotted keys and JSON values."""
    found: dict[str, str] = {}

    def walk(value: Any, before: str) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(inner, f"{before}.{name}" if before else name)
        else:
            found[before] = value if isinstance(value, str) else json.dumps(value)

    walk(json.loads(settings), "")
    return found


def settings_named(result: Result) -> tuple[str, ...]:
    """Return what was changed of the recipe, key=value, as far as it is part of the question."""
    apart = (*REPETITIONS, *COMPETING, *OF_THE_ROW, "corpus.name")
    return tuple(
        one
        for one in result.recipe.overrides
        if one != WITH_DEFAULTS and not any(one.startswith((f"{key}=", f"{key}.")) for key in apart)
    )
