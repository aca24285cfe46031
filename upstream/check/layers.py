"""What the states are like: layers that carry nothing, and audio that is unusual."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE, Upstream
from upstream.check.finding import NOTE, OK, Finding, joined, words_of_model
from upstream.custom.probes import deviations
from upstream.errors import UserError

SAME = 1e-6  # relative difference of two layers that are one
STILL = 1e-3  # a layer whose frames vary less than this around their mean, relative to it, is constant
UNEVEN = 100.0  # ratio of norms beyond which one layer drowns the others in a sum of all
ONE_CHANNEL = 0.9  # share of a layer's squared norm in one channel that is remarkable
NAMED = 5  # layers in a sentence


def syllables(seconds: float, seed: int) -> Tensor:
    """Return something like speech, (S,): gliding harmonics with a formant, four syllables a second, and noise."""
    time = torch.arange(round(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    pitch = 90 + 50 * seed + 30 * torch.sin(2 * math.pi * (0.7 + 0.2 * seed) * time)
    phase = 2 * math.pi * pitch.cumsum(0) / SAMPLE_RATE
    formant = 700 + 400 * torch.sin(2 * math.pi * 1.3 * time + seed)
    voice = sum(
        (torch.exp(-(((number * pitch - formant) / 400) ** 2)) + 0.1) * torch.sin(number * phase)
        for number in range(1, 20)
    )
    envelope = torch.sin(2 * math.pi * 2 * time).abs()
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mixed = voice * envelope + 0.1 * noise * (1 - envelope)
    return (0.3 * mixed / mixed.abs().max()).float()


# ---------------------------------------------------------------- layers


def check_layers(encoder: Upstream) -> Finding:
    """Return the norms of all layers, and which of them are constant, equal, or carried by one channel."""
    states = [encoder([syllables(3.0, seed)]).utterance(0).float() for seed in range(3)]
    frames = torch.cat(states, dim=1)  # (L, T, D)
    norms = frames.norm(dim=2).mean(dim=1).tolist()
    low, high = min(norms), max(norms)
    norms_found = (
        f"the norm of a frame is {low:.3g} (layer {norms.index(low)}) to {high:.3g} (layer {norms.index(high)})"
    )
    if len(norms) == 1:
        norms_found = f"the norm of a frame is {low:.3g}"
    widths = (frames.shape[2] - padding_of((frames == 0).all(dim=1))).tolist()
    if min(widths) < frames.shape[2]:
        widths_found = f"padded with zeros from a width of {min(widths)} (layer {widths.index(min(widths))})"
        norms_found = joined([norms_found, widths_found])
    notes = odd_layers(frames, norms)
    return Finding("layers", joined([norms_found, *notes]), NOTE if notes else OK, {"least": low, "greatest": high})


def odd_layers(frames: Tensor, norms: Sequence[float]) -> list[str]:
    """Return what is odd about layers; frames: (L, T, D). norms: of each layer."""
    notes = []
    spread = (frames - frames.mean(dim=1, keepdim=True)).norm(dim=2).mean(dim=1)
    still = [layer for layer, norm in enumerate(norms) if float(spread[layer]) <= STILL * norm]
    if still:
        notes.append(f"{layers(still)} the same at every frame: nothing of the audio is left")
    equal = [
        layer
        for layer in range(1, len(frames))
        if float(deviations(frames[layer][None], frames[layer - 1][None])) <= SAME
    ]
    if equal:
        notes.append(f"{layers(equal)} equal to the layer before")
    silent = (frames == 0).all(dim=1)  # (L, D)
    gaps = (silent.sum(dim=1) - padding_of(silent)).tolist()
    if any(gaps):
        layer = gaps.index(max(gaps))
        notes.append(f"{gaps[layer]} of {frames.shape[2]} channels of layer {layer} are always zero")
    share = frames.square().sum(dim=1)  # (L, D)
    carried = (share.max(dim=1).values / share.sum(dim=1).clamp_min(1e-30)).tolist()
    if frames.shape[2] > 1 and max(carried) > ONE_CHANNEL:
        layer = carried.index(max(carried))
        notes.append(f"one channel has {max(carried):.0%} of layer {layer}'s energy")
    positive = [norm for norm in norms if norm > 0]
    if positive and max(positive) > UNEVEN * min(positive):
        notes.append("in a weighted sum of all, the largest layers drown the others")
    return notes


def padding_of(silent: Tensor) -> Tensor:
    """Return how many channels at the end of each layer are always zero, (L, D) bool -> (L,)."""
    return silent.flip(1).long().cumprod(dim=1).sum(dim=1)


def layers(numbers: Sequence[int]) -> str:
    """Return layers as the subject of a sentence: "layers 3, 4 are"."""
    named = ", ".join(map(str, numbers[:NAMED])) + (", ..." if len(numbers) > NAMED else "")
    return f"layer {named} is" if len(numbers) == 1 else f"layers {named} are"


# ---------------------------------------------------------------- unusual audio


def check_unusual_audio(encoder: Upstream) -> Finding:
    """Encode silence, full scale, a constant, and the shortest utterances; say which fail or give no numbers."""
    second = torch.ones(SAMPLE_RATE)
    audio = {
        "silence": second * 0,
        "a constant": second * 0.1,
        "a square wave at full scale": second * torch.sin(torch.arange(SAMPLE_RATE) * 0.1).sign(),
        "a faint noise": 1e-5 * torch.randn(SAMPLE_RATE, generator=torch.Generator().manual_seed(0)),
        f"{encoder.shortest} samples": syllables(1.0, 0)[: encoder.shortest],
        "one sample": second[:1] * 0.1,
    }
    good: list[str] = []
    bad: list[str] = []
    for name, waveform in audio.items():
        try:
            finite = bool(torch.isfinite(encoder([waveform]).utterance(0)).all())
        except UserError as error:
            bad.append(f"{name} fails: {words_of_model(error, encoder.name)}")
            continue
        (good if finite else bad).append(name if finite else f"{name} gives NaN or infinite states")
    if not bad:
        return Finding("odd audio", f"finite states for {', '.join(good)}")
    advice = "A corpus with such an utterance would stop there"
    return Finding("odd audio", joined([*bad, advice]), NOTE)
