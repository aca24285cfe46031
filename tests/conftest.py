"""Fixtures that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real corpora beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real corpora are not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def waveforms() -> list[torch.Tensor]:
    """Four utterances of odd and very different lengths, the shortest of a single frame."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(n, generator=generator) * 0.1 for n in (16_123, 400, 31_999, 5_001)]
