"""Standardisation of waveforms, for models that were trained on standardised ones."""

from __future__ import annotations

from torch import Tensor


def standardise(waveform: Tensor, epsilon: float) -> Tensor:
    """Return (x - mean) / √(variance + epsilon) of an utterance (S,), with population variance."""
    return (waveform - waveform.mean()) / (waveform.var(correction=0) + epsilon).sqrt()
