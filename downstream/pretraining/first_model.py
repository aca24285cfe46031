"""The model that a pre-training begins with, and what its recipe asks of it, checked before anything is read."""

from __future__ import annotations

from downstream.pretraining.speech import HOP, WINDOW
from downstream.recipes import PretrainingRecipe
from upstream.catalog import refuse_unknown
from upstream.errors import UserError
from upstream.nearest import did_you_mean
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.config_formats import KNOWN_FIELDS, as_tuple, with_values
from upstream.wavlm.model import untrained
from upstream.wavlm.names import from_native


def config_of(recipe: PretrainingRecipe) -> WavLMConfig:
    """Return the configuration of the model that a recipe describes; raises UserError for what is none."""
    where = f"The section model of {recipe.name}"
    for name in recipe.model:
        if name not in KNOWN_FIELDS:
            hint = did_you_mean(name, sorted(KNOWN_FIELDS)) or "See docs/wavlm.md for its fields."
            raise UserError(f"{where} has a key {name!r}, and a WavLM none. {hint}")
    config = with_values(WavLMConfig(), {name: as_tuple(value) for name, value in recipe.model.items()}, where)
    if (config.stride, config.receptive_field) != (HOP, WINDOW):
        raise UserError(
            f"{where} makes frames of {config.receptive_field} samples, {config.stride} apart; a model is pre-trained "
            f"with frames of {WINDOW} samples, {HOP} apart. Leave conv_kernel and conv_stride out."
        )
    if not (config.mask_time_prob or config.mask_feature_prob):
        raise UserError(
            f"{where} has mask_time_prob: 0, and a checkpoint of such a model has no mask vector, which pre-training "
            "needs. Leave it out: what is masked in pre-training is in the section mask."
        )
    refuse_missing_layers(recipe, config)
    return config


def refuse_missing_layers(recipe: PretrainingRecipe, config: WavLMConfig) -> None:
    """Raise UserError for inner layers that the model does not have, and for targets of a layer or a model that will
    not be there when their stage begins."""
    for number, stage in enumerate(recipe.stages):
        inner = stage.objective.inner if stage.objective.kind == "masked_prediction" else ()
        if max(inner, default=-1) >= config.num_hidden_layers:
            raise UserError(
                f"stages.{number}: layer {max(inner)} of objective.inner is not an inner one, for the model's last "
                f"layer is {config.num_hidden_layers}. Correct `inner`."
            )
        for target in stage.targets:
            if target.model is not None:
                refuse_unknown(target.model)
            elif target.layer is not None and target.layer > config.num_hidden_layers:
                raise UserError(
                    f"stages.{number}: the target {target.called} is made of layer {target.layer}, and the model has "
                    f"layers 0 to {config.num_hidden_layers}. Correct `layer`."
                )


def drawn(config: WavLMConfig, seed: int) -> Checkpoint:
    """Return untrained weights as a checkpoint."""
    return Checkpoint(config, from_native(untrained(config, seed).state_dict(), config), "untrained weights", "")
