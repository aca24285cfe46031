"""FBANK and MFCC: equal to SUPERB's, independent of the batch, never NaN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchaudio.compliance import kaldi
from torchaudio.functional import compute_deltas

from upstream import filterbank
from upstream.errors import UserError
from upstream.filterbank import BASELINES

NAMES = sorted(BASELINES)


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
def test_shapes(name: str) -> None:
    baseline = filterbank.load(name)
    states = baseline([noise(16_000), noise(400), noise(5_000)])
    assert (baseline.num_layers, baseline.stride) == (1, 160)
    assert baseline.dim == (39 if name == "mfcc" else 240)
    assert states.layers.shape == (1, 3, 98, baseline.dim)
    assert states.lengths.tolist() == [98, 1, 29]
    assert states.layers.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [560, 16_000, 23_457])
def test_equals_s3prl(name: str, samples: int) -> None:
    """The reference is s3prl's extracter with its settings file, executed here."""
    extracter_module = pytest.importorskip("s3prl.upstream.baseline.extracter")
    yaml = pytest.importorskip("yaml")
    config = yaml.safe_load((Path(extracter_module.__file__).parent / f"{name}.yaml").read_text())
    extracter, dim, frame_shift = extracter_module.get_extracter(config)
    waveform = noise(samples, seed=samples)
    ours = filterbank.load(name)
    assert (ours.dim, ours.stride) == (dim, frame_shift * 16)
    torch.testing.assert_close(ours([waveform]).utterance(0)[0], extracter(waveform), rtol=1e-5, atol=1e-5)


def waveforms_of_all_kinds(samples: int) -> dict[str, Tensor]:
    tone = torch.sin(torch.arange(samples) * (2 * torch.pi * 60 / 16_000))
    return {
        "noise": noise(samples, seed=samples),
        "barely audible": 1e-4 * noise(samples, seed=samples),
        "beyond full scale": 20 * noise(samples, seed=samples),
        "beside a constant and a hum": 0.3 + 0.5 * tone + 1e-3 * noise(samples, seed=samples),
        "constant": torch.full((samples,), 0.3),
        "silence": torch.zeros(samples),
        "an impulse": torch.nn.functional.pad(torch.ones(1), (samples // 2, samples - samples // 2 - 1)),
    }


@pytest.mark.parametrize("samples", [400, 401, 559, 560, 719, 8_000, 33_333])
@pytest.mark.parametrize("name", ["fbank", "mfcc"])
def test_equals_torchaudio(name: str, samples: int) -> None:
    settings = BASELINES[name]
    weights = filterbank.load(name).weights
    for kind, waveform in waveforms_of_all_kinds(samples).items():
        ours = filterbank.static_features(waveform, settings, weights)
        if name == "fbank":
            theirs = kaldi.fbank(waveform[None], num_mel_bins=80, dither=0.0)
        else:
            theirs = kaldi.mfcc(waveform[None], num_ceps=13, dither=0.0)
        # Cepstra sum mel energies of up to 16 with weights of up to 12.
        assert float((ours - theirs).abs().max()) < (5e-6 if name == "fbank" else 1e-4), kind


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 98])
@pytest.mark.parametrize("window", [3, 5, 6, 9])
def test_deltas_equal_torchaudio(frames: int, window: int) -> None:
    features = noise(frames * 7, seed=frames).reshape(frames, 7)
    theirs = compute_deltas(features.T[None], win_length=window)[0].T
    torch.testing.assert_close(filterbank.delta(features, window), theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("offset", [0.0, -15.0])
@pytest.mark.parametrize("frames", [2, 3, 3_001])
def test_standardised_in_float32_is_near_what_float64_gives(frames: int, offset: float) -> None:
    features = noise(frames * 8, seed=frames).reshape(frames, 8) + offset
    exact = features.double()
    expected = (exact - exact.mean(dim=0)) / (exact.std(dim=0) + 1e-10)
    ours = filterbank.standardise(features, torch.zeros(8, dtype=torch.bool), 1e-10)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-3, atol=1e-4 if offset else 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_waveforms_are_not_changed(name: str) -> None:
    waveform = noise(16_000)
    filterbank.load(name)([waveform])
    assert torch.equal(waveform, noise(16_000))


@pytest.mark.parametrize("name", NAMES)
def test_states_do_not_depend_on_the_batch(name: str) -> None:
    baseline = filterbank.load(name)
    waveforms = [noise(8_000, 1), 0.01 * noise(20_000, 2), noise(3_000, 3)]
    batch = baseline(waveforms)
    for index, waveform in enumerate(waveforms):
        assert torch.equal(batch.utterance(index), baseline([waveform]).utterance(0))


@pytest.mark.parametrize("name", ["fbank", "mfcc"])
def test_mean_is_zero_and_deviation_one(name: str) -> None:
    baseline = filterbank.load(name)
    assert "chance" in baseline.provenance.notes[0]
    features = baseline([noise(16_000)]).utterance(0)[0]
    assert features.mean(dim=0).abs().max() < 1e-5
    assert (features.std(dim=0) - 1).abs().max() < 1e-4


def test_without_cmvn_the_mean_carries_loudness() -> None:
    baseline = filterbank.load("fbank_no_cmvn")
    assert baseline.provenance.notes == ()
    loud, quiet = baseline([noise(16_000), 0.1 * noise(16_000)]).means()[:, 0, :80]
    # Ten times the amplitude is a hundred times the energy, and the features are natural logarithms of energy.
    torch.testing.assert_close(loud - quiet, torch.full((80,), 100.0).log(), atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", ["fbank", "mfcc"])
@pytest.mark.parametrize("samples", [1, 400, 559])
def test_one_frame_becomes_zeros(name: str, samples: int) -> None:
    states = filterbank.load(name)([noise(samples)])
    assert states.lengths.tolist() == [1]
    assert torch.equal(states.layers, torch.zeros_like(states.layers))


@pytest.mark.parametrize("name", ["fbank", "mfcc"])
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_constant_features_become_zeros(name: str, level: float) -> None:
    """Digital silence, and a tone whose period of 160 samples is exactly one frame shift."""
    period = level * torch.sin(2 * torch.pi * torch.arange(160) / 160)
    features = filterbank.load(name)([period.repeat(100)]).layers
    assert torch.equal(features, torch.zeros_like(features))


def test_rounding_is_not_scaled_up() -> None:
    """A feature that changes only by rounding becomes zeros; one with a slightly larger change does not."""
    static = torch.full((20, 2), -15.0)
    static[7, 0] += 2e-6
    static[7, 1] += 1e-3
    constant = filterbank.is_constant(static)
    assert constant.tolist() == [True, False]
    standardised = filterbank.standardise(static, constant, 1e-10)
    assert torch.equal(standardised[:, 0], torch.zeros(20))
    assert abs(float(standardised[:, 1].std()) - 1) < 1e-3


def test_silence_without_cmvn_is_finite() -> None:
    assert bool(torch.isfinite(filterbank.load("fbank_no_cmvn")([torch.zeros(16_000)]).layers).all())


def test_fingerprints_differ_and_repeat() -> None:
    prints = [filterbank.load(name).fingerprint for name in NAMES]
    assert len(set(prints)) == len(NAMES)
    assert prints == [filterbank.load(name).fingerprint for name in NAMES]


def test_unknown_name_is_a_user_error() -> None:
    with pytest.raises(UserError, match="fbank, fbank_no_cmvn, mfcc"):
        filterbank.load("mel")
