"""Utterance mixing: where, how loud and how long, and what stays as it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from upstream.wavlm.pretraining import mixed, noise

SAMPLES = 8_000


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def speech(seed: int = 5) -> Tensor:
    return 0.1 * torch.randn(SAMPLES, generator=drawn(seed))


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 12.0])
def test_a_part_is_added_at_its_level(ratio: float) -> None:
    """A constant as the other one shows its place and its level."""
    clean = speech()
    result = mixed(clean, torch.full((SAMPLES,), 0.3), ratio, 0.5, drawn())
    added = result - clean
    places = added.abs().gt(1e-6).nonzero()[:, 0]
    assert int(places[-1] - places[0]) + 1 == len(places)  # one stretch
    assert 0.1 * SAMPLES - 1 <= len(places) <= 0.5 * SAMPLES + 1
    power, own = float(clean.square().mean()), float(added[places].square().mean())
    assert 10 * math.log10(power / own) == pytest.approx(ratio, abs=1e-3)


def test_parts_are_of_every_length_and_place() -> None:
    lengths, begins, ends = [], [], []
    clean, other = speech(), torch.ones(SAMPLES)
    for seed in range(300):
        places = (mixed(clean, other, 0.0, 0.5, drawn(seed)) - clean).abs().gt(1e-6).nonzero()[:, 0]
        lengths.append(len(places) / SAMPLES)
        begins.append(int(places[0]))
        ends.append(int(places[-1]))
    assert 0.1 <= min(lengths) < 0.12
    assert 0.48 < max(lengths) <= 0.5
    assert min(begins) < 0.03 * SAMPLES
    assert max(ends) > 0.97 * SAMPLES


def test_what_is_mixed_is_not_changed_itself() -> None:
    clean, other = speech(), speech(6)
    before = clean.clone(), other.clone()
    assert not torch.equal(mixed(clean, other, 0.0, 0.5, drawn()), clean)
    assert torch.equal(clean, before[0])
    assert torch.equal(other, before[1])


@pytest.mark.parametrize("silent", [0, 1])
def test_silence_is_not_made_loud(silent: int) -> None:
    pair = [speech(), speech(6)]
    pair[silent] = torch.zeros(SAMPLES)
    assert torch.equal(mixed(pair[0], pair[1], 0.0, 0.5, drawn()), pair[0])


def test_noise_is_from_white_to_brown() -> None:
    slopes = []
    for seed in range(30):
        made = noise(16_000, drawn(seed))
        assert made.shape == (16_000,)
        power = torch.fft.rfft(made).abs().square()
        low, high = power[200:400].mean(), power[3_200:6_400].mean()  # four octaves apart
        slopes.append(float(10 * torch.log10(low / high)))
    assert min(slopes) < 3.0  # white has 0 dB
    assert max(slopes) > 20.0  # brown has 24 dB
