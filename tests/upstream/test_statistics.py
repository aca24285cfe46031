"""Means and standard deviations over time: sound, of the valid frames alone, and through the store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

import upstream
from upstream.base import HiddenStates, deviations
from upstream.encode import Item
from upstream.extract import fill
from upstream.store import StateStore, StoreKey, estimate_bytes
from upstream.store.housekeeping import survey

LAYERS, DIM = 3, 8
LENGTHS = [17, 1, 40]  # frames


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


UTTERANCES = [noise(LAYERS, length, DIM, seed=length) for length in LENGTHS]
SPEECH = [0.1 * noise(samples, seed=samples) for samples in (16_000, 9_000, 400)]


@dataclass(frozen=True)
class Waveform:
    samples: Tensor

    def load(self) -> Tensor:
        return self.samples


ITEMS = [
    Item(f"noise {len(samples)}", Waveform(samples), hashlib.sha256(bytes([len(samples) % 251])).hexdigest(), 1.0)
    for samples in SPEECH
]
DIGESTS = [item.digest for item in ITEMS]


def test_they_are_the_population_statistics_of_valid_frames() -> None:
    states = HiddenStates.from_utterances(UTTERANCES)
    found = states.statistics()
    assert found.shape == (len(LENGTHS), LAYERS, 2 * DIM)
    assert torch.equal(found[:, :, :DIM], states.means())
    for own, frames in zip(found, UTTERANCES, strict=True):
        expected = frames.double().std(dim=1, correction=0).float()
        torch.testing.assert_close(own[:, DIM:], expected, rtol=1e-5, atol=1e-7)
    assert bool((found[1, :, DIM:] == 0).all())  # one frame


def test_neither_padding_nor_the_batch_reaches_them() -> None:
    states = HiddenStates.from_utterances(UTTERANCES)
    spoilt = states.layers.clone()
    for index, length in enumerate(LENGTHS):
        spoilt[:, index, length:] = 1e6
    assert torch.equal(HiddenStates(spoilt, states.lengths).statistics(), states.statistics())
    for index, frames in enumerate(UTTERANCES):
        assert torch.equal(HiddenStates.from_utterances([frames]).statistics()[0], states.statistics()[index])


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_a_channel_far_from_zero_keeps_its_deviation(offset: float) -> None:
    """The square root of the mean square less the squared mean would have no right digit there."""
    frames = noise(500, DIM) + offset
    expected = frames.double().std(dim=0, correction=0)
    torch.testing.assert_close(deviations(frames).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [0.1, -1234.567, 3e30])
def test_a_channel_that_never_changes_has_none(value: float) -> None:
    assert torch.equal(deviations(torch.full((2, 77, DIM), value)), torch.zeros(2, DIM))


@pytest.mark.parametrize("name", ["wavlm_nano", "fbank_no_cmvn"])
def test_an_encoder_gives_those_of_its_frames(name: str) -> None:
    """WavLM reduces layer by layer, without the frames of all layers in memory."""
    encoder = upstream.load(name, random_init=name == "wavlm_nano")
    found, whole = encoder.statistics(SPEECH), encoder(SPEECH).statistics()
    assert found.shape == (len(SPEECH), encoder.num_layers, 2 * encoder.dim)
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-6)
    assert torch.equal(found[:, :, : encoder.dim], encoder.means(SPEECH))


def test_the_store_keeps_them_beside_means_and_frames(tmp_path: Path) -> None:
    encoder = upstream.load("wavlm_nano", random_init=True)
    keys = {reduction: StoreKey.of(encoder, reduction) for reduction in ("means", "statistics", "frames")}
    assert len({key.folder_name() for key in keys.values()}) == 3
    for key in (keys["means"], keys["statistics"]):
        fill(StateStore(tmp_path, key, encoder.name), encoder, ITEMS, progress=False)
    stored = StateStore(tmp_path, keys["statistics"]).statistics(DIGESTS)
    assert stored.dtype == torch.float32
    assert torch.equal(stored[..., : encoder.dim], StateStore(tmp_path, keys["means"]).means(DIGESTS))
    for row, waveform in zip(stored.unbind(dim=1), SPEECH, strict=True):
        torch.testing.assert_close(row, encoder.statistics([waveform])[0], rtol=1e-4, atol=1e-5)
    assert {found.describe() for found in survey(tmp_path)} == {
        "wavlm_nano, means, float32",
        "wavlm_nano, statistics, float32",
    }


def test_they_take_twice_the_bytes_of_means(tmp_path: Path) -> None:
    encoder = upstream.load("wavlm_nano", random_init=True)
    means, statistics = StoreKey.of(encoder), StoreKey.of(encoder, "statistics", "int8")
    assert statistics.codec == "float32"
    numbers = 4 * encoder.num_layers * encoder.dim
    assert estimate_bytes(statistics, 320, [9.0]) - estimate_bytes(means, 320, [9.0]) == numbers
    opened = StateStore(tmp_path, statistics)
    with pytest.raises(AssertionError, match="this store holds statistics"):
        opened.means([])
