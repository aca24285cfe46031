"""Standardisation of waveforms, for models that were trained on standardised ones."""

from __future__ import annotations

from torch import Tensor

from upstream.wavlm.config import WavLMConfig


def standardise(waveform: Tensor, epsilon: float) -> Tensor:
    """Return (x - mean) / √(variance + epsilon) of an utterance (S,), with population variance."""
    return (waveform - waveform.mean()) / (waveform.var(correction=0) + epsilon).sqrt()


def as_trained(waveform: Tensor, config: WavLMConfig) -> Tensor:
    """Return a waveform (S,), standardised if the model was trained on standardised ones."""
    return standardise(waveform, config.normalize_epsilon) if config.normalize_waveform else waveform
