"""Overrides that let the encoder of a recipe learn, and what they need beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from downstream.recipes.finetuning import is_read_alone

SECTION = "finetune"
WITH_DEFAULTS = f"{SECTION}={{}}"  # the override that --finetune stands for
# What takes the place of a recipe's sweep that was made for frozen encoders, by its key.
INSTEAD = {"sweep.layer": "sweep.layer=mix", "sweep.lr": "sweep.lr=[]"}


def lets_learn(overrides: Sequence[str]) -> bool:
    """Return True for overrides that let the encoder learn."""
    asked = [one for one in overrides if one.startswith((f"{SECTION}=", f"{SECTION}."))]
    return bool(asked) and asked[-1] != f"{SECTION}=null"


def completed(overrides: Sequence[str], content: Mapping[str, Any]) -> list[str]:
    """Return overrides with what they need beside them where they let the encoder of a recipe learn.

    A recipe that was made for frozen encoders takes the weighted sum where it chooses among layers, and none of the
    learning rates that it lists for heads, unless the overrides say otherwise. One that has a section of its own stays
    as it is where fine-tuning is asked for without settings.

    content: of the recipe's file.
    """
    if not lets_learn(overrides):
        return list(overrides)
    if content.get(SECTION) is not None:
        return [one for one in overrides if one != WITH_DEFAULTS]
    sweep = content.get("sweep") or {}
    departs = {"sweep.layer": not is_read_alone(listed(sweep.get("layer"))), "sweep.lr": bool(sweep.get("lr"))}
    said = {one.partition("=")[0] for one in overrides}
    return [*overrides, *(INSTEAD[key] for key, own in departs.items() if own and not {key, "sweep"} & said)]


def listed(value: Any) -> list[Any]:
    """Return a setting that may be one value or several as a list; none for null."""
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
