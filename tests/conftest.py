"""Fixtures that several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# `pytest -n 2` has a process for every core, whose threads would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # of what tests start
    torch.set_num_threads(1)


@pytest.fixture
def waveforms() -> list[torch.Tensor]:
    """Four utterances of odd and very different lengths, the shortest of a single frame."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(n, generator=generator) * 0.1 for n in (16_123, 400, 31_999, 5_001)]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that is not the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
