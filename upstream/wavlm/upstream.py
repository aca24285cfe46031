"""WavLM under the contract of an upstream."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from upstream.base import HiddenStates, Provenance, Upstream, frozen
from upstream.fingerprint import fingerprint_tensors
from upstream.wavlm import checkpoint
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.model import WavLM, untrained
from upstream.wavlm.products import pack

# Raised whenever the hidden states of the same weights can change by more than rounding, so that stored
# states of older versions are not mistaken for new ones.
EXTRACTOR_VERSION = 2


class WavLMUpstream(Upstream):
    """A frozen WavLM: the input of every block and the encoder's output, num_hidden_layers + 1 states.

    The last state of a pre-norm model (Large) is the normed output, as in SUPERB's weighted sum; transformers
    from version 5 on gives the un-normed one in `hidden_states`.
    """

    def __init__(
        self, name: str, model: WavLM, provenance: Provenance, device: torch.device, dtype: torch.dtype
    ) -> None:
        config = self.config = model.config
        self.name, self.provenance = name, provenance
        self.num_layers, self.dim = config.num_hidden_layers + 1, config.hidden_size
        self.stride, self.shortest = config.stride, config.receptive_field
        settings = config.states_depend_on()
        self.fingerprint = fingerprint_tensors(model.state_dict(), settings | {"extractor": EXTRACTOR_VERSION})
        self.device, self.dtype = device, dtype
        self.model = frozen(model, device, dtype)
        pack(self.model)

    def prepare(self, waveform: Tensor) -> Tensor:
        if not self.config.normalize_waveform:
            return waveform
        return standardise(waveform, self.config.normalize_epsilon)

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        lengths = [self.config.frames(len(waveform)) for waveform in waveforms]
        layers = torch.zeros(
            (self.num_layers, len(waveforms), max(lengths), self.dim), dtype=self.dtype, device=self.device
        )
        for layer, packed in zip(layers, self.model(waveforms), strict=True):
            for padded, own in zip(layer, torch.split(packed, lengths), strict=True):
                padded[: len(own)] = own
        return HiddenStates(layers, torch.tensor(lengths))

    def encode_means(self, waveforms: list[Tensor]) -> Tensor:
        """Layer by layer, so that the frames of one are in memory and not of all."""
        lengths = [self.config.frames(len(waveform)) for waveform in waveforms]
        layers = []
        for packed in self.model(waveforms):
            utterances = torch.split(packed, lengths)
            layers.append(torch.stack([own.mean(dim=0, dtype=torch.float32) for own in utterances]))
        return torch.stack(layers, dim=1)


def standardise(waveform: Tensor, epsilon: float) -> Tensor:
    """(x - mean) / √(variance + epsilon) over the utterance's own samples, population variance."""
    return (waveform - waveform.mean()) / (waveform.var(correction=0) + epsilon).sqrt()


def load_checkpoint(
    name: str, path: Path, revision: str | None, source: str, device: torch.device, dtype: torch.dtype
) -> WavLMUpstream:
    """The upstream of the checkpoint at `path`; `source` and `revision` go into its provenance."""
    read = checkpoint.read(path)
    provenance = Provenance(source, read.format, revision, read.file_sha256, notes=read.notes)
    return WavLMUpstream(name, read.build(), provenance, device, dtype)


def load_untrained(
    name: str, config: WavLMConfig, seed: int, device: torch.device, dtype: torch.dtype
) -> WavLMUpstream:
    """The same architecture with weights drawn from `seed`."""
    provenance = Provenance(f"drawn from seed {seed}", "untrained", random_init=True)
    return WavLMUpstream(name, untrained(config, seed), provenance, device, dtype)
