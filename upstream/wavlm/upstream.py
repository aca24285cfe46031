"""WavLM as an upstream."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from upstream import hub
from upstream.base import HiddenStates, Provenance, Upstream, frozen
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors
from upstream.lazy import import_object
from upstream.request import NamedUpstream, Request
from upstream.wavlm import checkpoint, products, ways
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.model import WavLM, untrained

# Increase it whenever the same weights can give states that differ by more than rounding, so that stored states of
# older versions are not reused.
EXTRACTOR_VERSION = 2


class WavLMUpstream(Upstream):
    """A frozen WavLM: the input of every block and the encoder's output, num_hidden_layers + 1 layers.

    The last layer of a pre-norm model (Large) is the normed output, as in SUPERB's weighted sum; `hidden_states` of
    transformers 5 and later has the un-normed output there.
    """

    def __init__(
        self, name: str, model: WavLM, provenance: Provenance, device: torch.device, dtype: torch.dtype
    ) -> None:
        config = self.config = model.config
        self.name, self.provenance = name, provenance
        self.num_layers, self.dim = config.num_hidden_layers + 1, config.hidden_size
        self.stride, self.shortest = config.stride, config.receptive_field
        settings = config.fingerprint_settings()
        self.fingerprint = fingerprint_tensors(model.state_dict(), settings | {"extractor": EXTRACTOR_VERSION})
        self.device, self.dtype = device, dtype
        self.model = frozen(model, device, dtype)
        products.pack(self.model)

    def prepare(self, waveform: Tensor) -> Tensor:
        """Standardise the waveform (S,) if the model was trained on standardised waveforms."""
        if not self.config.normalize_waveform:
            return waveform
        return standardise(waveform, self.config.normalize_epsilon)

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Return all layers, (num_hidden_layers + 1, B, T, D)."""
        lengths = [self.config.frames(len(waveform)) for waveform in waveforms]
        layers = torch.zeros(
            (self.num_layers, len(waveforms), max(lengths), self.dim), dtype=self.dtype, device=self.device
        )
        for layer, packed in zip(layers, self.model(waveforms), strict=True):
            for padded, frames in zip(layer, torch.split(packed, lengths), strict=True):
                padded[: len(frames)] = frames
        return HiddenStates(layers, torch.tensor(lengths))

    def encode_means(self, waveforms: list[Tensor]) -> Tensor:
        """Return the means (B, L, D), computed layer by layer: only the frames of one layer are in memory."""
        lengths = [self.config.frames(len(waveform)) for waveform in waveforms]
        layers = []
        for packed in self.model(waveforms):
            utterances = torch.split(packed, lengths)
            layers.append(torch.stack([frames.mean(dim=0, dtype=torch.float32) for frames in utterances]))
        return torch.stack(layers, dim=1)


def standardise(waveform: Tensor, epsilon: float) -> Tensor:
    """Return (x - mean) / √(variance + epsilon) of an utterance (S,), with population variance."""
    return (waveform - waveform.mean()) / (waveform.var(correction=0) + epsilon).sqrt()


def load_checkpoint(
    name: str, path: Path, revision: str | None, source: str, device: torch.device, dtype: torch.dtype
) -> WavLMUpstream:
    """Load the checkpoint at `path`; `source` and `revision` are recorded in its provenance."""
    read = checkpoint.read(path)
    provenance = Provenance(source, read.format, revision, read.file_sha256, notes=read.notes)
    return WavLMUpstream(name, read.build(), provenance, device, dtype)


def load_untrained(
    name: str, config: WavLMConfig, seed: int, device: torch.device, dtype: torch.dtype
) -> WavLMUpstream:
    """Build an upstream with weights drawn from `seed`."""
    provenance = Provenance(f"drawn from seed {seed}", "untrained", random_init=True)
    return WavLMUpstream(name, untrained(config, seed), provenance, device, dtype)


def load_named(row: NamedUpstream, request: Request) -> WavLMUpstream:
    """Load a WavLM of the catalogue; `row.configuration` is a constant of `upstream.wavlm.config`.

    Raises UserError if no weights are published, or they cannot be fetched or read.
    """
    dtype = request.dtype or ways.fastest_dtype(request.device)
    if request.random_seed is not None:
        config: WavLMConfig = import_object(f"upstream.wavlm.config:{row.configuration}")
        return load_untrained(request.typed, config, request.random_seed, request.device, dtype)
    if row.repository is None:
        raise UserError(f"There are no published weights of {row.name}; add --random-init to try it untrained.")
    repository = hub.fetch(row.repository, request.revision)
    return load_checkpoint(request.typed, repository.folder, repository.revision, row.repository, request.device, dtype)


def load_path(request: Request) -> WavLMUpstream:
    """Load the WavLM checkpoint at the path that was typed; raises UserError if it cannot be read."""
    path = Path(request.typed)
    dtype = request.dtype or ways.fastest_dtype(request.device)
    if request.random_seed is not None:
        return load_untrained(request.typed, checkpoint.read_config(path), request.random_seed, request.device, dtype)
    return load_checkpoint(request.typed, path, None, str(path), request.device, dtype)
