"""Utterance mixing: a second speaker or noise over a part of an utterance (Chen et al. 2022, WavLM, section III-B)."""

from __future__ import annotations

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE

SHORTEST = 0.1  # of the utterance
QUIETEST = 1e-5  # root mean square under which nothing is scaled: silence


def mixed(speech: Tensor, other: Tensor, ratio: float, longest: float, generator: torch.Generator) -> Tensor:
    """Return speech (S,) with a part of `other` (S,) added to a part of equal length, both drawn.

    ratio: of the power of `speech` to that of what is added, in dB, each over its whole length. longest: largest part,
    as a share of the utterance; the smallest is a tenth.
    """
    samples = len(speech)
    share = SHORTEST + (max(longest, SHORTEST) - SHORTEST) * drawn(generator)
    length = min(samples, max(1, round(share * samples)))
    into, of = (int(drawn(generator) * (samples - length + 1)) for _ in range(2))
    level, own = (float(one.square().mean().sqrt()) for one in (speech, other))
    if level < QUIETEST or own < QUIETEST:
        return speech
    result = speech.clone()
    result[into : into + length] += other[of : of + length] * (level / own * 10.0 ** (-ratio / 20.0))
    return result


def noise(samples: int, generator: torch.Generator) -> Tensor:
    """Return noise, (samples,), whose power falls with a drawn power of the frequency: from white to brown."""
    spectrum = torch.fft.rfft(torch.randn(samples, generator=generator))
    frequencies = torch.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE).clamp_min(50.0)
    coloured: Tensor = torch.fft.irfft(spectrum * (frequencies / 1000.0) ** -drawn(generator), samples)
    return coloured


def drawn(generator: torch.Generator) -> float:
    """Return a number from 0 to 1, both of them excluded but for rounding."""
    return float(torch.rand((), dtype=torch.float64, generator=generator))
