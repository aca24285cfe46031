"""Resampling at rates whose ratio to 16 kHz is of large numbers."""

from __future__ import annotations

import math
import tracemalloc

import pytest
import torch
import torchaudio
from small_corpora import InMemory

from downstream.data.audio import AudioCut
from downstream.data.recordings import RecordingInfo
from downstream.data.resampling import ByPhase, is_by_phase, resample


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_usual_rates_are_resampled_by_torchaudio(rate: int) -> None:
    assert not is_by_phase(rate)


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_345, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("samples", [1, 30, 9_001])
def test_by_phase_it_is_the_same_sinc(rate: int, samples: int) -> None:
    """torchaudio's in float64, since its filter is less exact in float32 the larger the numbers are."""
    waveform = torch.randn(samples, generator=torch.Generator().manual_seed(samples))
    common = math.gcd(rate, 16_000)
    found = ByPhase(rate // common, 16_000 // common)(waveform)
    expected = torchaudio.functional.resample(waveform.double(), rate, 16_000)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < 2e-6


@pytest.mark.parametrize("rate", [7_999, 15_999, 22_051, 22_254, 44_101, 47_999, 191_999])
def test_odd_rates_take_little_memory(rate: int) -> None:
    assert is_by_phase(rate)
    tone = torch.sin(2 * math.pi * 440 * torch.arange(rate, dtype=torch.float64) / rate).float()
    tracemalloc.start()
    found = resample(tone, rate)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**28
    expected = torch.sin(2 * math.pi * 440 * torch.arange(16_000, dtype=torch.float64) / 16_000).float()
    assert found.shape == expected.shape
    assert float((found - expected)[500:-500].abs().max()) < 1e-3


def test_digests_say_how_odd_rates_are_resampled() -> None:
    """Else states of before would be mixed with these; those of usual rates keep their key."""
    whole = AudioCut(InMemory("a", 0.1)).inspected()
    assert whole.info is not None
    odd = whole.inspected(RecordingInfo(whole.info.digest, 0.1, 1, 47_999))
    usual = whole.inspected(RecordingInfo(whole.info.digest, 0.1, 1, 44_100))
    assert whole.digest() == usual.digest() != odd.digest()
