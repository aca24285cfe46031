"""The record of a pre-training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from downstream.pretraining.folder import OTHER_CODE, State
from downstream.pretraining.options import PretrainingOptions
from downstream.pretraining.speech import Speech
from downstream.recipes import PretrainingRecipe
from downstream.results import environment
from upstream.ranks import Ranks

SCHEMA = 1


def record_of(
    recipe: PretrainingRecipe,
    speech: Speech,
    state: State,
    parameters: int,
    options: PretrainingOptions,
    ranks: Ranks,
) -> dict[str, Any]:
    """Return all that a reader of the model should know, as JSON values.

    parameters: numbers of the encoder.
    """
    return {
        "schema": SCHEMA,
        "recipe": recipe.model_dump(mode="json"),
        "speech": [asdict(source) for source in speech.sources],
        "hours_of_speech": speech.seconds / 3600,
        "held_back_seconds": sum(stream.seconds for stream in speech.held),
        "notes": [*speech.notes, *([OTHER_CODE] if len(state.code) > 1 else [])],
        "parameters": parameters,
        "updates": state.place,
        "hours_learned_from": state.audio / 3600,
        "seconds": state.seconds,
        "targets": state.targets,
        "history": [asdict(one) for one in state.history],
        "processes": ranks.world,
        "machines": state.machines,
        "environment": environment(torch.device(options.device)),
        "command": options.command,
    }
