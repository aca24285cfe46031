"""What of an encoder learns in a training."""

from __future__ import annotations

from dataclasses import dataclass

from upstream.errors import UserError


@dataclass(frozen=True)
class Learned:
    """Which of an encoder's weights learn, and how.

    from_layer: the blocks after this one learn, from_layer + 1 … N. 0: all of them, and all that lies between the
        front end and the first block.
    front_end: True if the convolutions over the waveform learn too.
    front_end_scale: factor of the gradient that enters the front end (fairseq's feature_grad_mult).
    masked: True for SpecAugment as the checkpoint's configuration has it.
    checkpointing: True to compute the inside of each block again in the backward pass instead of keeping it.
    """

    from_layer: int = 0
    front_end: bool = False
    front_end_scale: float = 1.0
    masked: bool = True
    checkpointing: bool = False

    def check(self, blocks: int) -> None:
        """Raise UserError for what an encoder of so many blocks cannot learn."""
        if not 0 <= self.from_layer < blocks:
            raise UserError(
                f"Nothing would learn from layer {self.from_layer} up: this encoder has {blocks} blocks. "
                f"Choose 0 to {blocks - 1}."
            )
        if self.front_end and self.from_layer:
            raise UserError(
                f"The front end lies below layer {self.from_layer}, from which the encoder learns. "
                "Learn all layers (0), or leave the front end frozen."
            )
        if not 0.0 < self.front_end_scale < float("inf"):
            raise UserError(
                f"The front end's gradient cannot be scaled by {self.front_end_scale:g}; choose a number above 0, or "
                "leave the front end frozen."
            )
