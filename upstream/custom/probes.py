"""The test of a model before it is used: synthetic waveforms, alone and in batches, each twice.

What depends on the batch shows in one of them: lengths differ (padding), levels differ by 54 dB (scaling by a mean or
peak of the batch), one pair is of equal length (statistics of the batch without any padding), no order is that of the
lengths alone (outputs in sorted order).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import SAMPLE_RATE, HiddenStates, Upstream
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors

# Largest relative difference (norm over norm, per layer) between an utterance alone and in a batch that counts as
# rounding. WavLM and transformers' encoders with masks stay below 1e-6 in float32 and 3e-4 in bfloat16 on a CPU; on a
# GPU, kernels for other batch sizes may differ by about 1 % in half precision.
BATCH_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}

# What passed, and what was found: told("two calls", "the same to the bit").
Told = Callable[[str, str], None]


@dataclass(frozen=True)
class Probe:
    """Noise of that many samples; level: its standard deviation before it is clipped to [-1, 1]."""

    samples: int
    level: float

    def __str__(self) -> str:
        return f"{self.samples / SAMPLE_RATE:.3g} s of noise at {self.level:g} of full scale"


# States of the first two are in the fingerprint of models that cannot be looked into: another number of samples or
# level there needs another CONTRACT_VERSION.
PROBES = (Probe(16_000, 0.1), Probe(27_680, 0.1), Probe(12_000, 0.001), Probe(16_000, 0.5))
FINGERPRINTED = 2
BATCHES = ((0, 3), (0, 1), (1, 2, 0, 3), (3, 2))  # of PROBES; the first is not padded, which tells the fix


def noise(probes: Sequence[Probe]) -> list[Tensor]:
    """Return the waveforms of probes, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return [(probe.level * torch.randn(probe.samples, generator=generator)).clamp(-1, 1) for probe in probes]


def nobody(step: str, found: str) -> None:
    """Tell nobody."""


def check_contract(upstream: Upstream, model: Any, told: Told = nobody) -> list[HiddenStates]:
    """Test a model; return the states of the first probes, each alone.

    upstream: calls the model. told: called with every step that passed.

    Raises UserError if the model fails, if its states are not finite, not repeatable or depend on the batch, or if
    its tensors change or are trainable.
    """
    who = f"The model of {upstream.name}"
    waveforms, before = noise(PROBES), tensors_digest(model)
    alone = [upstream([waveform]) for waveform in waveforms]
    told("lengths", lengths_found([len(waveform) for waveform in waveforms], alone))
    states = [each.utterance(0) for each in alone]
    for probe, own in zip(PROBES, states, strict=True):
        check_finite(own, probe, who)
    told("finite", "no NaN and no infinite number for noise, quiet or loud")
    for own, waveform in list(zip(states, waveforms, strict=True))[:FINGERPRINTED]:
        check_repeatable(own, upstream([waveform]).utterance(0), who)
    largest = max(check_batch(upstream, waveforms, states, batch, who) for batch in BATCHES)
    told("batches", f"states differ by {largest:.2g} of a layer's norm at most from those of each utterance alone")
    check_repeatable(states[0], upstream([waveforms[0]]).utterance(0), who)
    told("two calls", "the same states to the bit, also after others were encoded")
    check_frozen(model, before, who)
    told("frozen", "in evaluation mode, without gradients, and unchanged by calls")
    return alone[:FINGERPRINTED]


def lengths_found(samples: Sequence[int], states: Sequence[HiddenStates]) -> str:
    """Return how many frames so many samples gave."""
    return ", ".join(
        f"{count:,} samples give {int(one.lengths[0])} frames"
        for count, one in sorted(dict(zip(samples, states, strict=True)).items())
    )


def check_finite(states: Tensor, probe: Probe, who: str) -> None:
    """Raise UserError for NaN or infinite states, (L, T, D)."""
    bad = [layer for layer, state in enumerate(states) if not bool(torch.isfinite(state).all())]
    if bad:
        raise UserError(
            f"{who} gives NaN or infinite states for {probe} (layer {bad[0]}); "
            "look for logarithms of zero, divisions by zero, or an overflow in half precision."
        )


def check_repeatable(first: Tensor, second: Tensor, who: str) -> None:
    """Raise UserError unless two calls on one waveform gave identical states, (L, T, D)."""
    if not torch.equal(first, second):
        raise UserError(
            f"{who} gave different states for the same waveform in two calls; switch off dropout, masking, dithering "
            "and anything else that is random or depends on earlier calls."
        )


# ---------------------------------------------------------------- alone and in a batch


def deviations(alone: Tensor, in_batch: Tensor) -> Tensor:
    """Return the difference of each layer relative to its norm, (L,); infinite for other shapes."""
    if alone.shape != in_batch.shape:
        return torch.full((len(alone),), torch.inf)
    difference = (alone.float() - in_batch.float()).flatten(1).norm(dim=1)
    norm = alone.float().flatten(1).norm(dim=1)
    relative: Tensor = difference / norm.clamp_min(torch.finfo(torch.float32).tiny)
    return relative.cpu()


def check_batch(
    upstream: Upstream, waveforms: Sequence[Tensor], alone: Sequence[Tensor], batch: Sequence[int], who: str
) -> float:
    """Encode some of the probes together; return the largest deviation of a layer from the states of each alone.

    alone: (L, T, D) of each probe.

    Raises UserError if one deviates by more than rounding.
    """
    tolerance = BATCH_TOLERANCE.get(upstream.dtype, 1e-4)
    states = upstream([waveforms[index] for index in batch])
    together = [states.utterance(place) for place in range(len(batch))]
    largest = 0.0
    for place, index in enumerate(batch):
        found = deviations(alone[index], together[place])
        if float(found.max()) <= tolerance:
            largest = max(largest, float(found.max()))
            continue
        if any(float(deviations(alone[index], other).max()) <= tolerance for other in together):
            raise UserError(f"{who} returns the utterances of a batch in another order; return them as they came.")
        fix = fix_for_batch({len(waveforms[other]) for other in batch})
        if alone[index].shape != together[place].shape:
            frames = [one.shape[1] for one in (alone[index], together[place])]
            raise UserError(f"{who} gives an utterance {frames[0]} frames alone and {frames[1]} in a batch. {fix}")
        layer = int(found.argmax())
        beside = " and ".join(str(PROBES[other]) for other in batch if other != index)
        raise UserError(
            f"{who} gives an utterance other states in a batch than alone: layer {layer} of {PROBES[index]} differs "
            f"by {float(found[layer]):.2g} of its norm beside {beside}. {fix}"
        )
    return largest


def fix_for_batch(lengths: set[int]) -> str:
    """Return what to do about states that depend on a batch of utterances of these lengths."""
    separately = "or encode each utterance by itself and use HiddenStates.from_utterances."
    if len(lengths) == 1:  # nothing is padded
        return (
            "Look for a mean, a peak or a normalisation over the whole batch and take it over each utterance, "
            f"{separately}"
        )
    return (
        "Mask the padding in attention, normalisation and pooling, and take means and peaks over each utterance, "
        f"{separately}"
    )


# ---------------------------------------------------------------- its tensors


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
