"""An encoder of the transformers library as an upstream.

The layers are those of SUPERB's weighted sum: the input of every block in order, then the encoder's output. For some
models, `hidden_states` of transformers 5 and later ends with the raw output of the last block; in pre-norm models,
which end in a layer norm, this is another tensor, so `last_hidden_state` replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE, HiddenStates, Provenance, Upstream, frozen, plain
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors
from upstream.foreign import foreign_code
from upstream.huggingface.config import read_configuration
from upstream.huggingface.extractor import features_of, read_extractor
from upstream.huggingface.files import ModelFiles, files_of, find_files
from upstream.huggingface.library import transformers_library
from upstream.huggingface.states import has_convolutions, is_squeezed, shortest_utterance, stack_states, valid_frames
from upstream.huggingface.weights import TRAINING_ONLY, trained_encoder, untrained_encoder
from upstream.huggingface.window import equal_parts, fixed_window, window_note
from upstream.request import NamedUpstream, Request
from upstream.text import counted, printable

EXTRACTOR_VERSION = 1  # increase it whenever the same weights give other states

# Samples of two waveforms that differ by 0.96 s: a whole number of frames at 10, 12, 15, 16, 20, 24, 30, 32, 40 and
# 80 ms, and at 75 and 12.5 frames a second, so that the difference in frames gives the stride exactly.
PROBES = (7_680, 23_040)

# Settings that describe where and when a checkpoint was saved, not what it computes.
IGNORED_SETTINGS = {"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype", "torch_dtype"}


# Frames may differ from what the stride promises by 5, as for a user's model, or by 5 %: a stride is rounded.
FRAME_TOLERANCE = 5
FRAME_TOLERANCE_SHARE = 0.05
# Relative difference of two calls on one waveform that is more than the order of sums.
RANDOM = 1e-4

WRAP = "wrap the model as module.py:function."


def load(
    identifier: str,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    random_init: bool = False,
    seed: int = 0,
) -> HuggingFaceUpstream:
    """Load a transformers speech encoder, frozen.

    identifier: [hf:]ORG/NAME[@REVISION], a directory that `save_pretrained` wrote, or a weight file with config.json
        beside it; what exists comes first.
    revision: branch, tag or commit, if not in the identifier.
    random_init: the same architecture with untrained weights drawn from `seed`; torch's generator is not changed.

    Raises UserError if transformers is not installed, or if the checkpoint cannot be found or read, does not match its
    configuration, is not a 16 kHz speech encoder, needs code from the hub, or gives no hidden states.
    """
    transformers_library()  # raise its UserError before anything is downloaded
    files = find_files(identifier, revision, weights=not random_init)
    return load_files(files, printable(identifier), torch.device(device), dtype, seed if random_init else None)


def load_named(row: NamedUpstream, request: Request) -> HuggingFaceUpstream:
    """Load an encoder of the catalogue from its repository; raises UserError as `load` does."""
    transformers_library()
    is_pinned = row.revision is not None and request.revision is None
    newest = f", or type {row.name}@main for the newest commit, which may be there" if is_pinned else ""
    revision = request.revision or row.revision
    files = files_of(row.repository or "", revision, request.random_seed is None, newest)
    return load_files(files, request.typed, request.device, request.dtype_or_float32, request.random_seed)


def load_files(
    files: ModelFiles, name: str, device: torch.device, dtype: torch.dtype, seed: int | None
) -> HuggingFaceUpstream:
    """Load the encoder of files, recorded under `name`; seed: of untrained weights, None for those of the files."""
    with foreign_code(f"Loading {name} with transformers", f"If the checkpoint is intact, {WRAP}"):
        configuration = read_configuration(files)
        extractor, notes = read_extractor(files, configuration.transformers)
        window = fixed_window(extractor)
        trained = trained_encoder(files, configuration) if seed is None else None
        encoder = trained.encoder if trained else untrained_encoder(configuration, seed or 0)
        head = trained.beside if trained else ()
        which = counted(len(head), "tensor of a head was", "tensors of a head were")
        left_out = [f"{which} left out, {head[0]} first."] if head else []
        provenance = Provenance(
            source=files.origin,
            format=f"transformers {type(encoder).__name__}",
            revision=files.revision,
            file_sha256=fingerprint_files(trained.files) if trained else None,
            random_init=seed is not None,
            notes=(*configuration.notes, *left_out, *([window_note(window)] if window else []), *notes),
        )
        fingerprint = fingerprint_of(encoder, extractor, seed)
        return HuggingFaceUpstream(name, encoder, extractor, fingerprint, provenance, device, dtype)


class HuggingFaceUpstream(Upstream):
    """A transformers encoder that encodes one utterance at a time, so that states do not depend on the batch."""

    def __init__(
        self,
        name: str,
        encoder: Any,
        extractor: Any,
        fingerprint: str,
        provenance: Provenance,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.name, self.fingerprint, self.provenance = name, fingerprint, provenance
        self.device, self.dtype = device, dtype
        self.encoder: Any = frozen(encoder, device, dtype)
        self.extractor = extractor
        self.shortest = shortest_utterance(encoder.config)
        self.window = fixed_window(extractor)
        if self.window is not None:
            self.first_centre = 0.0  # Whisper's mel frames, and both of its convolutions, are padded on either side
        elif has_convolutions(encoder.config):
            self.first_centre = self.shortest / 2
        self.num_layers, self.dim, self.stride = self._measure()

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Encode each waveform separately, then pad."""
        return HiddenStates.from_utterances([self.encode_one(waveform) for waveform in waveforms])

    def encode_one(self, waveform: Tensor) -> Tensor:
        """Return the states of one utterance, (S,) -> (L, T, D).

        Raises UserError for one of which the encoder hears a part alone, and for one that it fails on.
        """
        if self.window is None:
            return self._encode_at_once(waveform)
        parts = equal_parts(len(waveform), self.window, round(self.stride))
        return torch.cat([self._encode_at_once(waveform[start:end]) for start, end in parts], dim=1)

    def _encode_at_once(self, waveform: Tensor) -> Tensor:
        samples = len(waveform)
        with self._running():
            layers, mask = self._run(waveform)
        frames = valid_frames(layers.shape[1], samples, self.window, mask)
        expected = samples / self.stride
        if samples > PROBES[1] and expected - frames > max(FRAME_TOLERANCE, FRAME_TOLERANCE_SHARE * expected):
            raise UserError(
                f"{self.name} gives {frames} frames for {samples / SAMPLE_RATE:.1f} s; expected about {expected:.0f} "
                f"at its stride of {self.stride}. It hears a part of long utterances alone; cut them, or {WRAP}"
            )
        return layers[:, :frames]

    def _running(self) -> AbstractContextManager[None]:
        return foreign_code(f"{self.name} on this audio", f"Leave the utterance out, or {WRAP}", memory_passes=True)

    def _run(self, waveform: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return all states of one utterance, (S,) -> (L, T, D), and the mask of its features, if any."""
        features = features_of(self.extractor, waveform)
        name = "input_values" if "input_values" in features else "input_features"
        inputs = {name: features[name].to(self.device, self.dtype)}
        # A single waveform is not padded and needs no mask; features may be padded to a multiple.
        mask = features.get("attention_mask") if name == "input_features" else None
        if mask is not None:
            inputs["attention_mask"] = mask.to(self.device)
        with torch.random.fork_rng(devices=[]):  # some versions draw for layer drop, without effect
            output = self.encoder(**inputs, output_hidden_states=True, return_dict=True)
        return stack_states(output, self.name, is_squeezed(self.encoder.config)), mask

    def _measure(self) -> tuple[int, int, float]:
        """Return the number of layers, their width, and the stride in samples, by encoding noise.

        Raises UserError for a model that cannot run on speech, draws at random or whose frames do not follow the audio.
        """
        generator = torch.Generator().manual_seed(0)
        lengths = (self.shortest,) if self.window else PROBES
        waveforms = [0.1 * torch.randn(samples, generator=generator) for samples in lengths]
        with (
            foreign_code(
                f"{self.name} cannot be run on a waveform alone: it",
                "It may not be a speech encoder; wrap a model that needs other inputs as module.py:function.",
            ),
            torch.no_grad(),
        ):
            states = [self._run(waveform.to(self.device))[0] for waveform in waveforms]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(torch.initial_seed() + 1)  # what draws draws something else
                again = self._run(waveforms[0].to(self.device))[0]
        if float((again.double() - states[0].double()).norm()) > RANDOM * float(states[0].double().norm()):
            raise UserError(f"{self.name} gives other states at each call for the same audio; {WRAP}")
        num_layers, frames, dim = states[0].shape
        if self.window is not None:
            return num_layers, dim, plain(Fraction(self.window, frames))
        more_frames = states[1].shape[1] - frames
        if more_frames <= 0:
            raise UserError(
                f"{self.name} gives {frames} frames for {PROBES[0]} samples and {states[1].shape[1]} for {PROBES[1]}; "
                "expected an encoder whose frames follow the audio. Wrap it as module.py:function to cut its states."
            )
        return num_layers, dim, plain(Fraction(PROBES[1] - PROBES[0], more_frames))


def fingerprint_of(encoder: Any, extractor: Any, seed: int | None) -> str:
    """Return the digest of everything that the states depend on.

    seed: of untrained weights, None for those of a file. Drawn numbers differ by rounding between processors, so the
        seed stands for them, and the version of transformers, which may draw others.
    """
    settings = settings_of(encoder.config, extractor)
    if seed is not None:
        drawn_by = f"transformers {transformers_library().__version__}"
        return fingerprint_tensors({}, {**settings, "seed": seed, "drawn by": drawn_by})
    weights = {name: value for name, value in encoder.state_dict().items() if not name.endswith(TRAINING_ONLY)}
    return fingerprint_tensors(weights, settings)


def settings_of(config: Any, extractor: Any) -> Mapping[str, object]:
    """Return the settings that the states depend on: architecture and preprocessing of the waveform."""
    architecture = json.loads(config.to_json_string(use_diff=False))
    return {
        "extractor": EXTRACTOR_VERSION,
        "config": {key: value for key, value in architecture.items() if key not in IGNORED_SETTINGS},
        "preprocessor": json.loads(extractor.to_json_string()),
    }
