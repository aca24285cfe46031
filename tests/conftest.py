"""Fixtures that several tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def waveforms() -> list[torch.Tensor]:
    """Four utterances of odd and very different lengths, the shortest of a single frame."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(n, generator=generator) * 0.1 for n in (16_123, 400, 31_999, 5_001)]
