"""Filterbank baselines: FBANK and MFCC as SUPERB defines them. One layer, no learned weights.

Features are computed as in Kaldi (25 ms frames every 10 ms), their first and second deltas are appended, and every
dimension is standardised over its utterance (cepstral mean and variance normalisation, CMVN). The settings are those
of s3prl 0.4.18, `upstream/baseline/{fbank,mfcc,fbank_no_cmvn}.yaml`. Where those files set nothing, torchaudio's
defaults for Kaldi compliance hold (Povey window, pre-emphasis 0.97, 20 Hz to 8 kHz, 23 mel bins for the 13 cepstra,
only whole frames).

The numbers equal those of torchaudio.compliance.kaldi up to rounding; the tests compare them. Constants are computed
once for all utterances and copies are avoided, so FBANK takes a third of the time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE, HiddenStates, Provenance, Upstream
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors
from upstream.lazy import import_object

if TYPE_CHECKING:
    from upstream.request import NamedUpstream, Request

# Increase it whenever the same settings can give other numbers, in their last bits too: thousands of updates of a head
# make tenths of a percentage point of them.
DEFINITION_VERSION = 2

# Defaults of torchaudio.compliance.kaldi.
PRE_EMPHASIS = 0.97
POVEY_EXPONENT = 0.85  # the window is a Hann window to this power
LOWEST, HIGHEST = 20.0, SAMPLE_RATE / 2  # Hz, range of the mel bins
MFCC_MEL_BINS = 23
LIFTER = 22.0
LEAST_ENERGY = torch.finfo(torch.float32).eps  # floor of a mel bin, so that the logarithm of silence is finite

CMVN_NOTE = (
    "Every feature is standardised over its utterance, so its mean over time is zero, and classifiers, which average "
    "over frames, learn nothing from it: this is why FBANK is near chance in SUPERB for emotion (35.39 % of 4 classes) "
    "and keyword spotting (8.63 % of 12). Recognition and verification read all frames."
)


@dataclass(frozen=True)
class Settings:
    """The settings of one baseline.

    feature: "fbank" (log mel energies) or "mfcc" (cepstra).
    coefficients: mel bins or cepstra per frame.
    cmvn: True to standardise every dimension over the utterance.
    frame_length, frame_shift: milliseconds.
    delta_order: number of delta orders; each adds `coefficients` dimensions.
    delta_window: frames of the delta window.
    cmvn_epsilon: added to the standard deviation.
    """

    feature: str
    coefficients: int
    cmvn: bool
    frame_length: float = 25.0
    frame_shift: float = 10.0
    delta_order: int = 2
    delta_window: int = 5
    cmvn_epsilon: float = 1e-10


FBANK = Settings("fbank", 80, cmvn=True)
FBANK_NO_CMVN = Settings("fbank", 80, cmvn=False)
MFCC = Settings("mfcc", 13, cmvn=True)
BASELINES: Mapping[str, Settings] = {"fbank": FBANK, "fbank_no_cmvn": FBANK_NO_CMVN, "mfcc": MFCC}


def load_named(row: NamedUpstream, request: Request) -> Filterbank:
    """Build a filterbank of the catalogue, in float32; `row.configuration` is a constant of this module."""
    settings: Settings = import_object(f"{__name__}:{row.configuration}")
    return Filterbank(row.name, settings, request.device)


def load(name: str, device: str | torch.device = "cpu") -> Filterbank:
    """Return the baseline `name`: "fbank" (240 dimensions), "fbank_no_cmvn" (240) or "mfcc" (39), in float32.

    Raises UserError for any other name.
    """
    if name not in BASELINES:
        raise UserError(f"There is no filterbank baseline {name!r}; type one of: {', '.join(sorted(BASELINES))}.")
    return Filterbank(name, BASELINES[name], torch.device(device))


class Filterbank(Upstream):
    """Kaldi-style features with deltas, as an upstream of one layer."""

    def __init__(self, name: str, settings: Settings, device: torch.device) -> None:
        self.name = name
        self.settings = settings
        self.device = device
        self.num_layers = 1
        self.dim = settings.coefficients * (settings.delta_order + 1)
        self.stride = samples_of(settings.frame_shift)
        self.shortest = samples_of(settings.frame_length)
        self.first_centre = self.shortest / 2
        self.weights = Weights.of(settings, device)
        self.fingerprint = fingerprint_tensors({}, {"definition": DEFINITION_VERSION, **asdict(settings)})
        self.provenance = Provenance(name, "filterbank", notes=(CMVN_NOTE,) if settings.cmvn else ())

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Return one layer, (1, B, T, D); each utterance is computed separately, then padded."""
        return HiddenStates.from_utterances([self.features(waveform).unsqueeze(0) for waveform in waveforms])

    def features(self, waveform: Tensor) -> Tensor:
        """Return the features of one utterance, (S,) -> (T, D), T = (S - 400) // 160 + 1."""
        static = static_features(waveform, self.settings, self.weights)
        features = with_deltas(static, self.settings.delta_order, self.settings.delta_window)
        if not self.settings.cmvn:
            return features
        constant = is_constant(static).repeat(self.settings.delta_order + 1)
        return standardise(features, constant, self.settings.cmvn_epsilon)


@dataclass(frozen=True)
class Weights:
    """The constant tensors of a baseline.

    window: (frame length,).
    mel: (FFT size / 2 + 1, mel bins), triangular filters on the power spectrum.
    cepstra: (mel bins, coefficients), liftered cosine transform; None for FBANK.
    """

    window: Tensor
    mel: Tensor
    cepstra: Tensor | None

    @classmethod
    def of(cls, settings: Settings, device: torch.device) -> Weights:
        """Compute the constants for these settings."""
        length = samples_of(settings.frame_length)
        window = torch.hann_window(length, periodic=False).pow(POVEY_EXPONENT)
        if settings.feature == "fbank":
            return cls(window.to(device), mel_weights(settings.coefficients, length).to(device), None)
        mel = mel_weights(MFCC_MEL_BINS, length)
        return cls(window.to(device), mel.to(device), cepstral_weights(settings.coefficients).to(device))


def samples_of(milliseconds: float) -> int:
    """Convert milliseconds to samples at 16 kHz."""
    return round(milliseconds * SAMPLE_RATE / 1000)


def mel_weights(bins: int, frame_length: int) -> Tensor:
    """Return triangular filters of equal width in mel, (FFT size / 2 + 1, bins); the FFT size is a power of two."""
    from torchaudio.compliance.kaldi import get_mel_banks

    size = 2 ** math.ceil(math.log2(frame_length))
    triangles, _ = get_mel_banks(bins, size, SAMPLE_RATE, LOWEST, HIGHEST, 0.0, 0.0, vtln_warp_factor=1.0)
    return torch.nn.functional.pad(triangles, (0, 1)).T.contiguous()  # zero at the Nyquist frequency


def cepstral_weights(coefficients: int) -> Tensor:
    """Return the liftered cosine transform: coefficient i is scaled by 1 + LIFTER / 2 sin(pi i / LIFTER)."""
    from torchaudio.functional import create_dct

    lifter = 1 + LIFTER / 2 * torch.sin(math.pi * torch.arange(coefficients) / LIFTER)
    cosines: Tensor = create_dct(coefficients, MFCC_MEL_BINS, norm="ortho")
    return cosines * lifter


def static_features(waveform: Tensor, settings: Settings, weights: Weights) -> Tensor:
    """Return log mel energies or cepstra of one utterance, (S,) -> (T, coefficients).

    There is no dither, so the features of an utterance are always the same.
    """
    frames = windowed_frames(waveform, samples_of(settings.frame_shift), weights)
    spectrum = torch.view_as_real(torch.fft.rfft(frames))
    power = spectrum[..., 0].square().addcmul_(spectrum[..., 1], spectrum[..., 1])
    energies = (power @ weights.mel).clamp_(min=LEAST_ENERGY).log_()
    return energies if weights.cepstra is None else energies @ weights.cepstra


def windowed_frames(waveform: Tensor, shift: int, weights: Weights) -> Tensor:
    """Return frames without their mean, pre-emphasised, windowed and zero-padded, (S,) -> (T, FFT size).

    The first sample of a frame needs no pre-emphasis: the window is zero there. The bits are torchaudio's:
    `torch.sub(..., alpha=0.97)` would round once less, which changes a weak bin beside a strong one by a thousandth.
    """
    length, size = len(weights.window), 2 * (len(weights.mel) - 1)
    frames = waveform.unfold(0, length, shift)
    frames = frames - frames.mean(dim=1, keepdim=True)
    windowed = frames.new_zeros(len(frames), size)
    torch.sub(frames[:, 1:], frames[:, :-1] * PRE_EMPHASIS, out=windowed[:, 1:length])
    windowed[:, :length] *= weights.window
    return windowed


def with_deltas(static: Tensor, order: int, window: int) -> Tensor:
    """Append deltas of each order to the features, (T, C) -> (T, C * (order + 1))."""
    parts = [static]
    for _ in range(order):
        parts.append(delta(parts[-1], window))
    return torch.cat(parts, dim=-1)


def delta(features: Tensor, window: int) -> Tensor:
    """Return the slope of a line fitted over `window` frames, (T, C) -> (T, C); edge frames are repeated."""
    reach, count = (window - 1) // 2, len(features)
    edges = features[:1].expand(reach, -1), features[-1:].expand(reach, -1)
    padded = torch.cat([edges[0], features, edges[1]])
    slope = torch.zeros_like(features)
    for step in range(1, reach + 1):
        slope.add_(padded[reach + step :][:count] - padded[reach - step :][:count], alpha=step)
    return slope.div_(2 * sum(step**2 for step in range(1, reach + 1)))


def is_constant(static: Tensor) -> Tensor:
    """Return True for features that are constant over the utterance, (T, C) -> (C,) bool.

    Digital silence or a steady tone gives such features. Changes of a few units of rounding, relative to the largest
    feature of the utterance, are ignored.
    """
    spread = static.amax(dim=0) - static.amin(dim=0)
    return spread <= 4 * torch.finfo(static.dtype).eps * static.abs().max()


def standardise(features: Tensor, constant: Tensor, epsilon: float) -> Tensor:
    """Subtract each dimension's mean over time and divide by its unbiased deviation plus `epsilon`, (T, D) -> (T, D).

    constant: (D,) bool, constant dimensions. They become zeros: their deviation is only rounding, and dividing by it
        would scale rounding to unit variance. A single frame becomes zeros too: an unbiased deviation needs two.
    """
    if features.shape[0] == 1:
        return torch.zeros_like(features)
    centred = features - features.mean(dim=0)
    deviation = (centred.square().sum(dim=0) / (len(features) - 1)).sqrt()
    return centred.div_((deviation + epsilon).masked_fill_(constant, torch.inf))  # x / infinity = 0
