"""What comes out of a transformers encoder: its states, layer by layer, and the frames of an utterance."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from upstream.base import receptive_field
from upstream.errors import UserError

# 0.1 s: enough for every front end whose configuration has no kernels (pairs of 25 ms mel frames, Moonshine's stem).
SHORTEST = 1_600


def shortest_utterance(config: Any) -> int:
    """Return the samples under the first frame, from the kernels and strides in the configuration, if it has them."""
    if not has_convolutions(config):
        return SHORTEST
    squeeze = [config.squeeze_factor] if is_squeezed(config) else []  # frames that become one before the blocks
    return receptive_field([*config.conv_kernel, *squeeze], [*config.conv_stride, *squeeze])


def has_convolutions(config: Any) -> bool:
    """Return True for an encoder that begins with convolutions over the waveform, which pad nothing."""
    return bool(getattr(config, "conv_kernel", None) and getattr(config, "conv_stride", None))


def valid_frames(frames: int, samples: int, window: int | None, mask: Tensor | None) -> int:
    """Return how many of the encoder's `frames` belong to the utterance.

    samples: of the utterance.
    window: fixed number of samples that all frames cover; a frame counts if it begins in the utterance.
    mask: (1, M) ones and zeros over the features; a frame counts if any of its features does.
    """
    if window is not None:
        return min(frames, math.ceil(samples * frames / window))
    if mask is not None:
        return math.ceil(frames * int(mask.sum()) / mask.shape[-1])
    return frames


def is_squeezed(config: Any) -> bool:
    """Return True for an encoder whose blocks see fewer frames than it puts out at its end (SEW)."""
    return bool(getattr(config, "squeeze_factor", 1) > 1)


def stack_states(output: Any, name: str, squeezed: bool = False) -> Tensor:
    """Return the states of one utterance, (L, T, D): the input of each block, then the encoder's output.

    squeezed: take the output of the last block for the encoder's, which is at another rate.

    Raises UserError for a model that gives no hidden states, or states of different shapes.
    """
    hidden = getattr(output, "hidden_states", None)
    if not hidden or getattr(output, "last_hidden_state", None) is None:
        raise UserError(
            f"{name} gives no hidden states ({type(output).__name__}); "
            "choose a transformer encoder, or wrap the model as module.py:function."
        )
    states = [*hidden[:-1], hidden[-1] if squeezed else output.last_hidden_state]
    shapes = sorted({tuple(state.shape) for state in states})
    if len(shapes) > 1 or len(shapes[0]) != 3:
        raise UserError(
            f"The layers of {name} differ in frame rate or width, or are not (batch, frames, width): {shapes}. "
            "Wrap it as module.py:function to bring them to one shape."
        )
    return torch.cat(states)
