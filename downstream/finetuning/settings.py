"""What a recipe says of the encoder's part, in the terms of those who carry it out."""

from __future__ import annotations

from downstream.recipes import Descent, FinetuneSettings, OptimizerSettings, Recipe
from upstream.trainable import Learned


def settings_of(recipe: Recipe) -> tuple[Descent, FinetuneSettings]:
    """Return how head and encoder of a recipe learn."""
    assert recipe.learned is not None  # a recipe without is refused
    assert recipe.finetune is not None  # of a frozen encoder, which has its own flow
    return recipe.learned, recipe.finetune


def learned_of(settings: FinetuneSettings) -> Learned:
    """Return what learns of the encoder."""
    return Learned(
        from_layer=settings.from_layer,
        front_end=settings.front_end,
        front_end_scale=settings.front_end_scale,
        masked=settings.masked,
        checkpointing=settings.checkpointing,
    )


def optimizer_of(settings: FinetuneSettings, lr: float, steps: int) -> OptimizerSettings:
    """Return the optimiser of the encoder for a training of so many updates."""
    return OptimizerSettings(
        name=settings.optimizer,
        lr=lr,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        warmup=round(settings.warmup * steps),
    )
