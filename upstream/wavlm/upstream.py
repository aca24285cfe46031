"""WavLM as an upstream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from upstream import hub
from upstream.base import HiddenStates, Provenance, Upstream, deviations, frozen, require_drawable
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors
from upstream.lazy import import_object
from upstream.learned import Learned
from upstream.names import NAMED
from upstream.request import NamedUpstream, Request
from upstream.trainable import TrainableEncoder
from upstream.version import harness_version
from upstream.wavlm import checkpoint, names, products, ways
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.model import WavLM, untrained
from upstream.wavlm.shapes import expected_shapes
from upstream.wavlm.standardisation import as_trained

# Increase it whenever the same weights give other states, so that stored states of older versions are not reused.
EXTRACTOR_VERSION = 3
DRAWING_VERSION = 1  # increase it whenever a seed gives other untrained weights


class WavLMUpstream(Upstream):
    """A frozen WavLM: the input of every block and the encoder's output, num_hidden_layers + 1 layers.

    The last layer of a pre-norm model (Large) is the normed output, as in SUPERB's weighted sum; `hidden_states` of
    transformers 5 and later has the un-normed output there.
    """

    def __init__(
        self,
        name: str,
        model: WavLM,
        fingerprint: str,
        provenance: Provenance,
        device: torch.device,
        dtype: torch.dtype,
        weights: Callable[[], Checkpoint] | None = None,
    ) -> None:
        """weights: gets the weights again, unpacked; None where that is not possible."""
        config = self.config = model.config
        self.name, self.fingerprint, self.provenance = name, fingerprint, provenance
        self.num_layers, self.dim = config.num_hidden_layers + 1, config.hidden_size
        self.stride, self.shortest = config.stride, config.receptive_field
        self.first_centre = self.shortest / 2
        self.device, self.dtype = device, dtype
        self._weights = weights
        self.model = frozen(model, device, dtype)
        products.pack(self.model)

    def prepare(self, waveform: Tensor) -> Tensor:
        """Standardise the waveform (S,) if the model was trained on standardised waveforms."""
        return as_trained(waveform, self.config)

    def trainable(self, learned: Learned) -> TrainableEncoder:
        """Return a model with these weights that learns.

        Raises UserError as `checkpoint`, and for settings that do not fit it.
        """
        train: Callable[..., TrainableEncoder] = import_object("upstream.wavlm.training:TrainableWavLM")
        return train(self.checkpoint(), learned, self.device)

    def checkpoint(self) -> Checkpoint:
        """Return the weights as they were loaded. They are read or drawn again: those here may be packed.

        Raises UserError if the checkpoint cannot be read again or has changed.
        """
        if self._weights is None:
            raise UserError(
                f"{self.name} is a frozen copy of an encoder in training. Save that encoder, and load its directory."
            )
        return self._weights()

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
        return self._reduced(waveforms, mean)

    def encode_statistics(self, waveforms: list[Tensor]) -> Tensor:
        """Return the means and deviations (B, L, 2 D), layer by layer as the means."""
        return self._reduced(waveforms, lambda frames: torch.cat([mean(frames), deviations(frames.float())]))

    def _reduced(self, waveforms: list[Tensor], reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the frames of each utterance and layer, (T_i, D), reduced to one vector: (B, L, …)."""
        lengths = [self.config.frames(len(waveform)) for waveform in waveforms]
        layers = [torch.stack(list(map(reduce, torch.split(packed, lengths)))) for packed in self.model(waveforms)]
        return torch.stack(layers, dim=1)


def mean(frames: Tensor) -> Tensor:
    """Return the mean over the frames of one layer, (T, D) of any precision -> (D,) float32."""
    return frames.mean(dim=0, dtype=torch.float32)


def load_checkpoint(
    name: str, path: Path, revision: str | None, source: str, device: torch.device, dtype: torch.dtype
) -> WavLMUpstream:
    """Load the checkpoint at `path`; `source` and `revision` are recorded in its provenance."""
    read = checkpoint.read(path)
    fingerprint = read.fingerprint(EXTRACTOR_VERSION)
    provenance = Provenance(source, read.format, revision, read.file_sha256, notes=read.notes_on_encoder)
    again = partial(read_again, path, fingerprint)
    return WavLMUpstream(name, read.build(), fingerprint, provenance, device, dtype, again)


def read_again(path: Path, fingerprint: str) -> Checkpoint:
    """Read a checkpoint that was read before; raises UserError if its weights are no longer the same."""
    read = checkpoint.read(path)
    if read.fingerprint(EXTRACTOR_VERSION) != fingerprint:
        raise UserError(f"The checkpoint at {path} has changed since it was loaded; begin again with the one of now.")
    return read


def load_untrained(
    name: str, config: WavLMConfig, seed: int, device: torch.device, dtype: torch.dtype
) -> WavLMUpstream:
    """Build an upstream with weights drawn from `seed`.

    Its fingerprint is that of the seed and the configuration: drawn numbers differ by rounding between processors.

    Raises UserError for a configuration with more parameters than are drawn.
    """
    parameters = sum(math.prod(shape) for shape in expected_shapes(config).values())
    require_drawable(parameters, f"The configuration of {name}")
    provenance = Provenance(f"drawn from seed {seed}", "untrained", random_init=True)
    fingerprint, again = untrained_fingerprint(config, seed), partial(drawn, config, seed)
    return WavLMUpstream(name, untrained(config, seed), fingerprint, provenance, device, dtype, again)


def drawn(config: WavLMConfig, seed: int) -> Checkpoint:
    """Return weights drawn from `seed` as a checkpoint."""
    return Checkpoint(config, names.from_native(untrained(config, seed).state_dict(), config), "untrained", "")


def untrained_fingerprint(config: WavLMConfig, seed: int) -> str:
    """Return the fingerprint of weights drawn from `seed`, without drawing them."""
    settings = {"extractor": EXTRACTOR_VERSION, "drawing": DRAWING_VERSION, "seed": seed}
    return fingerprint_tensors({}, config.drawing_settings() | settings)


def untrained_fingerprints(seeds: Iterable[int]) -> dict[str, str]:
    """Return the name and seed of each untrained WavLM of the catalogue ("wavlm_base of seed 0"), by fingerprint.

    Of two names for one architecture the first one's is returned; their untrained weights are the same.
    """
    configurations = {row.name: configuration_of(row) for row in NAMED.values() if is_wavlm(row)}
    found: dict[str, str] = {}
    for seed in seeds:
        for name, config in configurations.items():
            found.setdefault(untrained_fingerprint(config, seed), f"{name} of seed {seed}")
    return found


def is_wavlm(row: NamedUpstream) -> bool:
    """Return True for a WavLM of the catalogue, published, shipped or without weights."""
    return row.kind in ("wavlm", "shipped")


def configuration_of(row: NamedUpstream) -> WavLMConfig:
    """Return the configuration of a WavLM of the catalogue: of its folder, or a constant of `upstream.wavlm.config`."""
    if row.folder is not None:
        return checkpoint.read_config(row.folder)
    constant: WavLMConfig = import_object(f"upstream.wavlm.config:{row.configuration}")
    return constant


def load_named(row: NamedUpstream, request: Request) -> WavLMUpstream:
    """Load a WavLM of the catalogue whose weights are on the hub, or that has none.

    Raises UserError if no weights are published, or they cannot be fetched or read.
    """
    dtype = request.dtype or ways.fastest_dtype(request.device)
    if request.random_seed is not None:
        return load_untrained(request.typed, configuration_of(row), request.random_seed, request.device, dtype)
    if row.repository is None:
        raise UserError(
            f"There are no weights of {row.name}; add --random-init to try it untrained, or name wavlm_tiny, whose "
            "weights are shipped with the harness."
        )
    instead = "give the path of a checkpoint to -u, add --random-init for untrained weights, or name wavlm_tiny, which "
    instead += "needs no network"
    repository = hub.fetch(row.repository, request.revision, instead)
    return load_checkpoint(request.typed, repository.folder, repository.revision, row.repository, request.device, dtype)


def load_shipped(row: NamedUpstream, request: Request) -> WavLMUpstream:
    """Load a WavLM whose weights are shipped with the harness; its provenance names the harness and its version."""
    dtype = request.dtype or ways.fastest_dtype(request.device)
    if request.random_seed is not None:
        return load_untrained(request.typed, configuration_of(row), request.random_seed, request.device, dtype)
    assert row.folder is not None
    source = f"shipped with wavprobe {harness_version()}"
    return load_checkpoint(request.typed, row.folder, None, source, request.device, dtype)


def load_path(request: Request) -> WavLMUpstream:
    """Load the WavLM checkpoint at the path that was typed; raises UserError if it cannot be read."""
    path = Path(request.typed)
    dtype = request.dtype or ways.fastest_dtype(request.device)
    if request.random_seed is not None:
        return load_untrained(request.typed, checkpoint.read_config(path), request.random_seed, request.device, dtype)
    return load_checkpoint(request.typed, path, None, str(path), request.device, dtype)
