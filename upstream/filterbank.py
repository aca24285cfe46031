"""Filterbank baselines: FBANK and MFCC as SUPERB defines them, one state, nothing learned.

A feature is computed in the manner of Kaldi (25 ms frames every 10 ms), its first and second differences over time
are put beside it, and every dimension is standardised over its utterance (cepstral mean and variance normalisation,
CMVN). The settings are those of s3prl 0.4.18, `upstream/baseline/{fbank,mfcc,fbank_no_cmvn}.yaml`; everything those
files leave open is torchaudio's default for Kaldi compliance (Povey window, pre-emphasis 0.97, 20 Hz to 8 kHz, 23 mel
bins under the 13 cepstra, frames only where they fit whole).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE, HiddenStates, Provenance, Upstream
from upstream.errors import MendableError
from upstream.fingerprint import fingerprint_tensors

DEFINITION_VERSION = 1  # raise it whenever the same settings come to mean other numbers

CMVN_NOTE = (
    "Every feature is standardised over its utterance, so its mean over time is zero, and classifiers, which average "
    "over frames, learn nothing from it: that is why the FBANK row of SUPERB stands near chance for emotion (35.39 % "
    "of 4 classes) and keyword spotting (8.63 % of 12). Recognition and verification read all frames."
)


@dataclass(frozen=True)
class Settings:
    """One baseline.

    feature: "fbank" (log mel energies) or "mfcc" (cepstra).
    coefficients: mel bins or cepstra in a frame.
    cmvn: whether every dimension is standardised over the utterance.
    frame_length, frame_shift: milliseconds.
    delta_order: how often differences over time are taken; each adds `coefficients` dimensions.
    delta_window: frames a difference is taken over.
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


BASELINES: Mapping[str, Settings] = {
    "fbank": Settings("fbank", 80, cmvn=True),
    "fbank_no_cmvn": Settings("fbank", 80, cmvn=False),
    "mfcc": Settings("mfcc", 13, cmvn=True),
}


def load(name: str, device: str | torch.device = "cpu") -> Filterbank:
    """The baseline `name`: "fbank" (240 dimensions), "fbank_no_cmvn" (240) or "mfcc" (39), in float32.

    Raises MendableError for any other name.
    """
    if name not in BASELINES:
        raise MendableError(f"There is no filterbank baseline {name!r}; type one of: {', '.join(sorted(BASELINES))}.")
    return Filterbank(name, BASELINES[name], torch.device(device))


class Filterbank(Upstream):
    """Kaldi-style features with their differences, as an upstream of a single state."""

    def __init__(self, name: str, settings: Settings, device: torch.device) -> None:
        self.name = name
        self.settings = settings
        self.device = device
        self.num_layers = 1
        self.dim = settings.coefficients * (settings.delta_order + 1)
        self.stride = round(settings.frame_shift * SAMPLE_RATE / 1000)
        self.shortest = round(settings.frame_length * SAMPLE_RATE / 1000)
        self.fingerprint = fingerprint_tensors({}, {"definition": DEFINITION_VERSION, **asdict(settings)})
        self.provenance = Provenance(name, "filterbank", notes=(CMVN_NOTE,) if settings.cmvn else ())

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """One state per utterance, (1, B, T, D); each utterance is computed by itself, then padded."""
        return HiddenStates.from_utterances([self.features(waveform).unsqueeze(0) for waveform in waveforms])

    def features(self, waveform: Tensor) -> Tensor:
        """The features of one utterance, (S,) -> (T, D), T = (S - 400) // 160 + 1."""
        static = static_features(waveform, self.settings)
        features = with_differences(static, self.settings.delta_order, self.settings.delta_window)
        if not self.settings.cmvn:
            return features
        constant = is_constant(static).repeat(self.settings.delta_order + 1)
        return standardise(features, constant, self.settings.cmvn_epsilon)


def static_features(waveform: Tensor, settings: Settings) -> Tensor:
    """Log mel energies or cepstra of one utterance, (S,) -> (T, coefficients)."""
    from torchaudio.compliance import kaldi

    shared: dict[str, Any] = {
        "sample_frequency": SAMPLE_RATE,
        "frame_length": settings.frame_length,
        "frame_shift": settings.frame_shift,
        "dither": 0.0,  # no noise is added: the same utterance has the same features every time
    }
    channel = waveform.unsqueeze(0)
    features: Tensor
    if settings.feature == "fbank":
        features = kaldi.fbank(channel, num_mel_bins=settings.coefficients, use_log_fbank=True, **shared)
    else:
        features = kaldi.mfcc(channel, num_ceps=settings.coefficients, **shared)
    return features


def with_differences(static: Tensor, order: int, window: int) -> Tensor:
    """Put differences over time beside the features, (T, C) -> (T, C * (order + 1)).

    A difference is the slope of a straight line fitted over `window` frames; the first and last frame are repeated
    beyond the edges.
    """
    from torchaudio.functional import compute_deltas

    parts = [static]
    for _ in range(order):
        parts.append(compute_deltas(parts[-1].T.unsqueeze(0), win_length=window).squeeze(0).T)
    return torch.cat(parts, dim=-1)


def is_constant(static: Tensor) -> Tensor:
    """Which features stay the same over the whole utterance, (T, C) -> (C,) bool.

    Digital silence or a steady tone gives such features. A few units of rounding, relative to the largest feature of
    the utterance, count as staying the same.
    """
    spread = static.amax(dim=0) - static.amin(dim=0)
    return spread <= 4 * torch.finfo(static.dtype).eps * static.abs().max()


def standardise(features: Tensor, constant: Tensor, epsilon: float) -> Tensor:
    """Subtract each dimension's mean over time and divide by its unbiased deviation plus `epsilon`, (T, D) -> (T, D).

    constant: (D,) bool, dimensions that do not move. They become zeros: their deviation is nothing but rounding, and
        dividing by it would turn rounding into a feature of unit size. A single frame becomes zeros as well, since an
        unbiased deviation needs two.
    """
    if features.shape[0] == 1:
        return torch.zeros_like(features)
    deviation, mean = torch.std_mean(features, dim=0, correction=1)
    return ((features - mean) / (deviation + epsilon)).masked_fill(constant, 0.0)
