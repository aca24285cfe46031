"""Standardisation of layers before they are summed."""

from __future__ import annotations

import torch

from downstream.tasks.weighted_sum import standardisation


def test_what_varies_by_rounding_alone_counts_as_constant() -> None:
    """As the means of filterbanks that were standardised over each utterance."""
    generator = torch.Generator().manual_seed(0)
    speech = torch.randn(1, 50, 2, generator=generator)
    rounding = 1e-8 * torch.randn(1, 50, 2, generator=generator)
    states = torch.cat([speech, rounding, torch.full((1, 50, 1), 3.0)], dim=2)
    mean, deviation = standardisation(states.split(20, dim=1))
    assert torch.allclose(deviation[0, :2], speech.double().std(dim=1, correction=0)[0])
    assert torch.equal(deviation[0, 2:], torch.ones(3).double())
    assert torch.allclose(mean, states.double().mean(dim=1))
