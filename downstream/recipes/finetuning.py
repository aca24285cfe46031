"""The section of a recipe that lets the encoder learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from downstream.recipes.sections import BEST, CHOSEN, Closed, Number, PositiveNumber, Whole

FINE_TUNED = "fine-tuned"  # the protocol of a run whose encoder learned, whatever the recipe's own


def share_of_updates(value: float) -> float:
    """Return a share as it is; raise ValueError for what is probably a number of updates."""
    if value > 1:
        raise ValueError(
            "it is a share of training.steps, from 0 to 1, so that 0.1 is a tenth; optimizer.warmup, of the head, is a "
            "number of updates"
        )
    return value


class FinetuneSettings(Closed):
    """How the encoder learns beside the head.

    The defaults are those of transformers' example for audio classification (AdamW, 3e-5, warm-up over a tenth of the
    updates, then linear towards zero), with the front end frozen as in Wang, Boumadane & Heba, "A fine-tuned wav2vec
    2.0/HuBERT benchmark" (2021). The head learns with the recipe's own optimiser.
    """

    lr: PositiveNumber = Field(
        default=3e-5, description="largest learning rate of the encoder, which sweep.lr lists; optimizer.lr: the head's"
    )
    from_layer: Annotated[Whole, Field(ge=0, le=1000)] = Field(
        default=0, description="blocks after this layer learn; 0: all of them, and what lies before but the front end"
    )
    front_end: bool = Field(default=False, description="the convolutions over the waveform learn too")
    front_end_scale: Annotated[PositiveNumber, Field(le=1)] = Field(
        default=1.0, description="factor of the gradient that enters the front end"
    )
    masked: bool = Field(
        default=True, description="SpecAugment in the encoder, as its configuration has it; false: none"
    )
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: Number = Field(default=0.0, ge=0.0)
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="course of the encoder's learning rate after the warm-up"
    )
    warmup: Annotated[Number, AfterValidator(share_of_updates), Field(ge=0)] = Field(
        default=0.1, description="share of the updates over which the encoder's learning rate rises"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="of the encoder's products while it learns, by autocast; float16: with a scaled loss. Weights, "
        "heads and tests are in float32",
    )
    checkpointing: bool = Field(
        default=False, description="compute blocks again in the backward pass, which takes less memory and more time"
    )

    @model_validator(mode="after")
    def front_end_that_can_learn(self) -> FinetuneSettings:
        if self.front_end and self.from_layer:
            raise ValueError(
                f"front_end lets the convolutions learn, and from_layer keeps all below layer {self.from_layer} "
                "frozen; leave one of them out"
            )
        if self.front_end_scale != 1.0 and not self.front_end:
            raise ValueError("front_end_scale is of a front end that learns; add front_end=true, or leave it out")
        return self


def is_read_alone(layers: Sequence[int | str]) -> bool:
    """Return True for the `sweep.layer` of one reading of the layers: none listed, the weighted sum, or one layer."""
    return len(layers) < 2 and not {"all", BEST, CHOSEN} & set(layers)
