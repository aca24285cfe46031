"""What a user's model must keep (`custom`): its sizes and outputs at every call, and a test on synthetic waveforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import HiddenStates, Upstream
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors

TEST_SAMPLES = (16_000, 27_680)  # 1 s and 1.73 s
# s3prl refuses a batch whose frames differ by 5 or more from what the stride promises (its upstream/interfaces.py).
FRAME_TOLERANCE = 5
# Largest relative difference (norm over norm, per layer) between an utterance alone and in a batch that counts as
# rounding. In half precision, kernels for other batch sizes may differ by about 1 %.
BATCH_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}


def declared_sizes(model: Any, who: str) -> tuple[int, int, int]:
    """Return (num_layers, dim, stride) from the model's attributes; who: name of the model in messages.

    Raises UserError for a model that cannot be called, and for sizes that are missing or no positive int.
    """
    if not callable(model):
        raise UserError(
            f"{who} is of type {type(model).__name__}, which cannot be called; return an object that takes waveforms."
        )
    sizes = []
    for attribute in ("num_layers", "dim", "stride"):
        value = getattr(model, attribute, None)
        if type(value) is not int or value < 1:
            found = f"{attribute} = {value!r}" if hasattr(model, attribute) else f"no attribute {attribute}"
            raise UserError(f"{who} has {found}; expected a positive int. Set it in the model's class.")
        sizes.append(value)
    return sizes[0], sizes[1], sizes[2]


def layers_and_lengths(output: object, who: str) -> tuple[Tensor, Tensor]:
    """Return the two tensors of a model's output, from `HiddenStates` or a pair.

    Raises UserError for anything else.
    """
    pair = (output.layers, output.lengths) if isinstance(output, HiddenStates) else output
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
        found = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
        raise UserError(
            f"{who} returned {found}; expected HiddenStates or a tuple (layers, lengths) of two tensors, "
            "(L, B, T, D) and (B,)."
        )
    return pair


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


def check_lengths(layers: Tensor, lengths: Tensor, samples: Sequence[int], stride: int, who: str) -> None:
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
        if abs(length - count / stride) >= FRAME_TOLERANCE:
            raise UserError(
                f"{who} returned {length} frames for {count} samples; expected about {count / stride:.0f} at its "
                f"stride of {stride}. Correct `stride`, or return every frame of the utterance."
            )


# ---------------------------------------------------------------- a test before use


def check_contract(upstream: Upstream, model: Any) -> list[HiddenStates]:
    """Test a model on synthetic waveforms, alone and together; return the states of each alone.

    upstream: calls the model.

    Raises UserError if the model fails, if its states are not finite, not repeatable or depend on the batch, or if
    its tensors change or are trainable.
    """
    who = f"The model of {upstream.name}"
    generator = torch.Generator().manual_seed(0)
    waveforms = [0.1 * torch.randn(samples, generator=generator) for samples in TEST_SAMPLES]

    before = tensors_digest(model)
    alone = [upstream([waveform]) for waveform in waveforms]
    again = [upstream([waveform]) for waveform in waveforms]
    together = upstream(waveforms)
    for index, (first, second) in enumerate(zip(alone, again, strict=True)):
        check_finite(first.utterance(0), who)
        check_repeatable(first.utterance(0), second.utterance(0), who)
        check_batch(first.utterance(0), together.utterance(index), upstream.dtype, who)
    check_frozen(model, before, who)
    return alone


def check_finite(states: Tensor, who: str) -> None:
    """Raise UserError for NaN or infinite states, (L, T, D)."""
    bad = [layer for layer, state in enumerate(states) if not bool(torch.isfinite(state).all())]
    if bad:
        raise UserError(
            f"{who} gives NaN or infinite states for noise at a tenth of full scale (layer {bad[0]}); "
            "look for logarithms of zero, divisions by zero, or an overflow in half precision."
        )


def check_repeatable(first: Tensor, second: Tensor, who: str) -> None:
    """Raise UserError unless two calls on one waveform gave identical states, (L, T, D)."""
    if not torch.equal(first, second):
        raise UserError(
            f"{who} gave different states for the same waveform in two calls; switch off dropout, masking, dithering "
            "and anything else that is random or depends on earlier calls."
        )


def check_batch(alone: Tensor, in_batch: Tensor, dtype: torch.dtype, who: str) -> None:
    """Raise UserError unless an utterance alone and in a batch gave the same states, (L, T, D), up to rounding."""
    fix = "Encode each utterance separately and use HiddenStates.from_utterances, or mask the padding."
    if alone.shape != in_batch.shape:
        raise UserError(
            f"{who} gives an utterance {alone.shape[1]} frames alone and {in_batch.shape[1]} in a batch. {fix}"
        )
    difference = (alone.float() - in_batch.float()).flatten(1).norm(dim=1)
    relative = difference / alone.float().flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    layer = int(relative.argmax())
    if relative[layer] > BATCH_TOLERANCE.get(dtype, 1e-4):
        raise UserError(
            f"{who} gives an utterance other states in a batch than alone: layer {layer} differs by "
            f"{float(relative[layer]):.2g} of its norm. {fix}"
        )


def check_frozen(model: Any, before: str, who: str) -> None:
    """Raise UserError if the model changed or is trainable; before: digest of its tensors before the first call."""
    if not isinstance(model, nn.Module):
        return
    if any(module.training for module in model.modules()):
        raise UserError(f"{who} went back to training mode when called; remove the call of train() from it.")
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if trainable:
        raise UserError(f"{who} made {trainable[0]} require gradients again; remove requires_grad_ from it.")
    if tensors_digest(model) != before:
        raise UserError(
            f"{who} changes its parameters or buffers when called; a frozen upstream must not. Look for running "
            "statistics and caches, and keep state that must change out of parameters and buffers."
        )


def tensors_digest(model: Any) -> str:
    """Return the digest of all parameters and buffers of a torch module, persistent or not; other objects have none."""
    tensors = [*model.named_parameters(), *model.named_buffers()] if isinstance(model, nn.Module) else []
    return fingerprint_tensors(dict(tensors), {})
