"""What a user's model must keep at every call: its sizes, and the shapes and lengths that they promise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE, HiddenStates, Upstream, exact, plain
from upstream.errors import UserError

# s3prl refuses a batch whose frames differ by 5 or more from what the stride promises (its upstream/interfaces.py).
FRAME_TOLERANCE = 5
ONE_WIDTH = "Stack them with HiddenStates.from_layers(layers, lengths), which pads narrower layers with zeros."


@dataclass(frozen=True)
class Sizes:
    """What a model declares: L, D, and in samples its stride, its shortest waveform, and its first frame's middle."""

    num_layers: int
    dim: int
    stride: float
    shortest: int
    first_centre: float


def declared_sizes(model: Any, who: str) -> Sizes:
    """Return the sizes from the model's attributes; who: name of the model in messages.

    Raises UserError for a model that cannot be called, and for sizes that are missing or impossible.
    """
    if not callable(model):
        raise UserError(
            f"{who} is of type {type(model).__name__}, which cannot be called; return an object that takes waveforms."
        )
    num_layers, dim = (whole_number(model, attribute, who) for attribute in ("num_layers", "dim"))
    shortest = whole_number(model, "shortest", who) if hasattr(model, "shortest") else Upstream.shortest
    return Sizes(num_layers, dim, declared_stride(model, who), shortest, declared_centre(model, shortest, who))


def declared_centre(model: Any, shortest: int, who: str) -> float:
    """Return the samples to the middle of the first frame; half of the shortest waveform where a model says nothing."""
    if not hasattr(model, "first_centre"):
        return shortest / 2
    value = model.first_centre
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(float(value)):
        raise UserError(
            f"{who} has first_centre = {value!r}; expected the samples from the beginning to the middle of the first "
            "frame, such as 0 for frames that are centred on where they begin."
        )
    return float(value)


def whole_number(model: Any, attribute: str, who: str) -> int:
    """Return an attribute that must be a positive int."""
    value = getattr(model, attribute, None)
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        found = f"{attribute} = {value!r}" if hasattr(model, attribute) else f"no attribute {attribute}"
        raise UserError(f"{who} has {found}; expected a positive int. Set it in the model's class.")
    return int(value)


def declared_stride(model: Any, who: str) -> float:
    """Return the samples between two frames, from `stride` or `frames_per_second`; an int where it is whole."""
    given = [name for name in ("stride", "frames_per_second") if hasattr(model, name)]
    if not given:
        raise UserError(
            f"{who} has no attribute stride; expected the samples between two frames, such as 320, "
            "or frames_per_second, such as 75. Set it in the model's class."
        )
    for name in given:
        value = getattr(model, name)
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            raise UserError(f"{who} has {name} = {value!r}; expected a positive number. Set it in the model's class.")
    strides = {
        name: fraction(getattr(model, name)) if name == "stride" else SAMPLE_RATE / fraction(getattr(model, name))
        for name in given
    }
    if len(set(strides.values())) > 1:
        raise UserError(
            f"{who} has stride = {model.stride!r} and frames_per_second = {model.frames_per_second!r}, which do not "
            f"agree: their product must be {SAMPLE_RATE}. Remove one of them."
        )
    return plain(strides[given[0]])


def fraction(value: Real) -> Fraction:
    """Return a number as the fraction that was meant."""
    return Fraction(int(value)) if isinstance(value, Integral) else exact(float(value))


def layers_and_lengths(output: object, who: str) -> tuple[Tensor, Tensor]:
    """Return the two tensors of a model's output, from `HiddenStates` or a pair.

    Raises UserError for anything else.
    """
    pair = (output.layers, output.lengths) if isinstance(output, HiddenStates) else output
    if isinstance(pair, tuple | list) and len(pair) == 2 and is_list_of_tensors(pair[0]):
        widths = sorted({layer.shape[-1] for layer in pair[0] if layer.ndim})
        raise UserError(f"{who} returned its layers as a list, of width {', '.join(map(str, widths))}. {ONE_WIDTH}")
    if isinstance(pair, Mapping) or is_list_of_tensors(pair):
        raise UserError(
            f"{who} returned a {type(pair).__name__}; expected HiddenStates or a tuple (layers, lengths). {ONE_WIDTH}"
        )
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
        found = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
        raise UserError(
            f"{who} returned {found}; expected HiddenStates or a tuple (layers, lengths) of two tensors, "
            "(L, B, T, D) and (B,)."
        )
    return pair


def is_list_of_tensors(value: object) -> bool:
    """Return True for a list or tuple of tensors of at least two dimensions, as layers have."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(one, Tensor) and one.ndim > 1 for one in value)
    )


def check_shapes(layers: Tensor, lengths: Tensor, expected: tuple[int, int, int], who: str) -> None:
    """Raise UserError for wrong types or shapes of an output; expected: (L, B, D)."""
    num_layers, batch, dim = expected
    for tensor in (layers, lengths):
        if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta or tensor.is_quantized:
            raise UserError(
                f"{who} returned a tensor that is sparse, nested, quantised or without data; return others."
            )
    if layers.requires_grad:
        raise UserError(f"{who} returned states that carry gradients; remove torch.enable_grad from it.")
    if layers.ndim != 4:
        raise UserError(f"{who} returned layers of shape {tuple(layers.shape)}; expected (L, B, T, D).")
    if not layers.is_floating_point():
        raise UserError(f"{who} returned layers of {layers.dtype}; expected floating-point states.")
    found = {"num_layers": layers.shape[0], "utterances": layers.shape[1], "dim": layers.shape[3]}
    for name, wanted in (("num_layers", num_layers), ("utterances", batch), ("dim", dim)):
        if found[name] != wanted:
            raise UserError(
                f"{who} returned layers of shape {tuple(layers.shape)}, (L, B, T, D), with {name} = {found[name]}; "
                f"expected {wanted}. Correct the attribute or the output."
            )
    if lengths.shape != (batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise UserError(
            f"{who} returned lengths of shape {tuple(lengths.shape)} and {lengths.dtype}; "
            f"expected ({batch},) whole numbers, the valid frames of each utterance."
        )


def check_lengths(layers: Tensor, lengths: Tensor, samples: Sequence[int], stride: float, who: str) -> None:
    """Raise UserError unless the lengths are within the padded states and match the stride.

    samples: of each utterance.
    """
    frames = layers.shape[2]
    for length, count in zip(lengths.tolist(), samples, strict=True):
        if not 1 <= length <= frames:
            raise UserError(
                f"{who} returned {frames} padded frames, but a length of {length} for an utterance of {count} samples; "
                f"expected 1 to {frames}."
            )
        if not fits(length, count, stride):
            in_order = zip(sorted(lengths.tolist()), sorted(samples), strict=True)
            if all(fits(one, other, stride) for one, other in in_order):
                raise UserError(f"{who} returns the utterances of a batch in another order; return them as they came.")
            raise UserError(
                f"{who} returned {length} frames for {count} samples; expected about {count / stride:.0f} at its "
                f"stride of {stride:.6g}. Correct `stride` (these frames are about {count / length:.4g} samples "
                "apart), or return every frame of the utterance."
            )


def fits(length: int, samples: int, stride: float) -> bool:
    """Return True for about as many frames as the stride promises."""
    return abs(length - samples / stride) < FRAME_TOLERANCE
