"""SpecAugment of hidden states (Park et al. 2019): spans of frames, and of dimensions, are masked in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.dropout import generator_of


@dataclass(frozen=True)
class Masks:
    """What of a packed batch is masked.

    frames: (N,) bool; these frames are replaced by the mask vector. None for no frames.
    dimensions: (B, D) bool; these are zero in all frames of their utterance. None for no dimensions.
    lengths: frames of each utterance.
    """

    frames: Tensor | None
    dimensions: Tensor | None
    lengths: Sequence[int]

    def applied(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return masked hidden states, (N, D) -> (N, D). embedding: (D,), the learned mask vector."""
        if self.frames is not None:
            x = torch.where(self.frames[:, None], embedding.to(x.dtype), x)
        if self.dimensions is not None:
            lengths = torch.tensor(self.lengths, device=x.device)
            x = x.masked_fill(self.dimensions.repeat_interleave(lengths, dim=0), 0.0)
        return x


def drawn_masks(
    config: WavLMConfig, seeds: Sequence[int], lengths: Sequence[int], device: torch.device
) -> Masks | None:
    """Return the masks of a batch as the configuration has them; None where it has none.

    Those of an utterance depend on its seed and length alone.
    """
    if not config.apply_spec_augment:
        return None
    cpu, frames, dimensions = torch.device("cpu"), None, None
    if config.mask_time_prob > 0.0:
        time = config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks
        each = zip(seeds, lengths, strict=True)
        frames = torch.cat([spans(length, *time, generator_of(seed, "masked frames", cpu)) for seed, length in each])
    if config.mask_feature_prob > 0.0:
        width = config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks
        generators = [generator_of(seed, "masked dimensions", cpu) for seed in seeds]
        dimensions = torch.stack([spans(config.hidden_size, *width, generator) for generator in generators])
    return Masks(
        None if frames is None else frames.to(device), None if dimensions is None else dimensions.to(device), lengths
    )


def spans(length: int, probability: float, span: int, fewest: int, generator: torch.Generator) -> Tensor:
    """Return a mask of spans, (length,) bool, with the distribution of wav2vec 2.0 (Baevski et al. 2020).

    There are probability · length / span spans, rounded up or down at random so that this is their mean number, but
    `fewest` at least, and no more than fit side by side. Their beginnings are drawn without replacement, so spans may
    overlap. What is shorter than one span is not masked.
    """
    places = length - span + 1
    if places < 1:
        return torch.zeros(length, dtype=torch.bool)
    rounding = float(torch.rand((), dtype=torch.float64, generator=generator))
    number = min(max(int(probability * length / span + rounding), fewest), length // span, places)
    begins = torch.randperm(places, generator=generator)[:number]
    mask = torch.zeros(length, dtype=torch.bool)
    mask[(begins[:, None] + torch.arange(span)).flatten()] = True
    return mask
