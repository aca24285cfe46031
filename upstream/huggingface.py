"""Any speech encoder of the transformers library, from the hub, its local cache or a directory.

The layers are those of SUPERB's weighted sum: the input of every block in order, then the encoder's output. For some
models, `hidden_states` of transformers 5 and later ends with the raw output of the last block; in pre-norm models,
which end in a layer norm, this is another tensor, so `last_hidden_state` replaces it.

All weights of the encoder must come from the checkpoint: a missing tensor is an error (it would be random), except
`masked_spec_embed`, which is used in training only. Tensors that the encoder does not have belong to heads and are
noted, except tensors of a block: then the configuration describes a smaller model, which is an error.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE, HiddenStates, Provenance, Upstream, frozen, receptive_field
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors
from upstream.hub import fetch
from upstream.weight_files import weight_files

EXTRACTOR_VERSION = 1  # increase it whenever the same weights give other states

# Used in training only. Checkpoints may lack it, and then it is random, so it is not in the fingerprint.
TRAINING_ONLY = "masked_spec_embed"
BLOCK = re.compile(r"(^|\.encoder\.|^encoder\.)layers\.\d+\.")

# 0.1 s: enough for every front end whose configuration has no kernels (pairs of 25 ms mel frames, Moonshine's stem).
SHORTEST = 1_600
# Samples of two waveforms that differ by 0.96 s: a whole number of frames at 10, 12, 15, 16, 20, 24, 30, 32, 40 and
# 80 ms, so that the difference in frames gives the stride exactly.
PROBES = (7_680, 23_040)

# Settings that describe where and when a checkpoint was saved, not what it computes.
IGNORED_SETTINGS = {"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype", "torch_dtype"}


@dataclass(frozen=True)
class ModelFiles:
    """A model directory on disk.

    origin, revision: the hub repository and its commit, or the directory and None.
    """

    folder: Path
    origin: str
    revision: str | None = None


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

    identifier: [hf:]ORG/NAME[@REVISION], or a directory that `save_pretrained` wrote; an existing directory comes
        first.
    revision: branch, tag or commit, if not in the identifier.
    random_init: the same architecture with untrained weights drawn from `seed`; torch's generator is not changed.

    Raises UserError if transformers is not installed, or if the checkpoint cannot be found or read, lacks tensors,
    is not a 16 kHz speech encoder, needs code from the hub, or gives no hidden states.
    """
    transformers_library()  # raise its UserError before anything is downloaded
    model_files = find_files(identifier, revision)
    config, extractor = read_settings(model_files)
    notes: list[str] = []
    if getattr(config, "add_adapter", False):
        config.add_adapter = False
        notes.append("The adapter after the encoder was left out; its frames are longer than those of the blocks.")
    if random_init:
        encoder, files = untrained_encoder(config, seed), []
    else:
        files = weight_files(model_files.folder)
        encoder, head = trained_encoder(model_files, config)
        notes += [f"{len(head)} tensors of a head were left out, {head[0]} first."] if head else []
    provenance = Provenance(
        source=model_files.origin,
        format=f"transformers {type(encoder).__name__}",
        revision=model_files.revision,
        file_sha256=fingerprint_files(files) if files else None,
        random_init=random_init,
        notes=(*notes, normalisation_note(extractor)),
    )
    return HuggingFaceUpstream(identifier, encoder, extractor, provenance, torch.device(device), dtype)


class HuggingFaceUpstream(Upstream):
    """A transformers encoder that encodes one utterance at a time, so that states do not depend on the batch."""

    def __init__(
        self,
        name: str,
        encoder: Any,
        extractor: Any,
        provenance: Provenance,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.name, self.provenance = name, provenance
        self.device, self.dtype = device, dtype
        weights = {name: value for name, value in encoder.state_dict().items() if not name.endswith(TRAINING_ONLY)}
        self.fingerprint = fingerprint_tensors(weights, settings_of(encoder.config, extractor))
        self.encoder: Any = frozen(encoder, device, dtype)
        self.extractor = extractor
        self.shortest = shortest_utterance(encoder.config)
        self.window = fixed_window(extractor)
        self.num_layers, self.dim, self.stride = self._measure()

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Encode each waveform separately, then pad."""
        return HiddenStates.from_utterances([self.encode_one(waveform) for waveform in waveforms])

    def encode_one(self, waveform: Tensor) -> Tensor:
        """Return the states of one utterance, (S,) -> (L, T, D).

        Raises UserError for an utterance longer than the encoder's fixed window (Whisper: 30 s), if it has one.
        """
        samples = len(waveform)
        if self.window is not None and samples > self.window:
            raise UserError(
                f"An utterance of {samples / SAMPLE_RATE:.1f} s does not fit {self.name}, which encodes at most "
                f"{self.window / SAMPLE_RATE:.0f} s at once; cut it, leave it out, or use an upstream without a limit."
            )
        layers, mask = self._run(waveform)
        return layers[:, : valid_frames(layers.shape[1], samples, self.window, mask)]

    def _run(self, waveform: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return all states of one utterance, (S,) -> (L, T, D), and the mask of its features, if any."""
        features = self.extractor(waveform.cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        name = "input_values" if "input_values" in features else "input_features"
        inputs = {name: features[name].to(self.device, self.dtype)}
        # A single waveform is not padded and needs no mask; features may be padded to a multiple.
        mask = features.get("attention_mask") if name == "input_features" else None
        if mask is not None:
            inputs["attention_mask"] = mask.to(self.device)
        output = self.encoder(**inputs, output_hidden_states=True, return_dict=True)
        return stack_states(output, self.name), mask

    def _measure(self) -> tuple[int, int, int]:
        """Return the number of layers, their width, and the stride in samples, by encoding noise.

        Raises UserError for a model that cannot run on speech or whose frames do not follow the audio.
        """
        generator = torch.Generator().manual_seed(0)
        waveforms = [0.1 * torch.randn(n, generator=generator) for n in ((self.shortest,) if self.window else PROBES)]
        try:
            with torch.no_grad():
                states = [self._run(waveform.to(self.device))[0] for waveform in waveforms]
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise UserError(
                f"{self.name} cannot be run on a waveform alone ({type(error).__name__}: {first_line(error)}). "
                "It may not be a speech encoder; wrap a model that needs other inputs as module.py:function."
            ) from error
        num_layers, frames, dim = states[0].shape
        if self.window is not None:
            return num_layers, dim, round(self.window / frames)
        more_frames = states[1].shape[1] - frames
        if more_frames <= 0:
            raise UserError(
                f"{self.name} gives {frames} frames for {PROBES[0]} samples and {states[1].shape[1]} for {PROBES[1]}; "
                "expected an encoder whose frames follow the audio. Wrap it as module.py:function to cut its states."
            )
        return num_layers, dim, round((PROBES[1] - PROBES[0]) / more_frames)


def transformers_library() -> Any:
    """Import transformers, an optional extra; raises UserError if it is not installed."""
    try:
        return import_module("transformers")
    except ImportError as error:
        raise UserError(
            "Encoders of the Hugging Face hub need the transformers library, which is not installed here; "
            "type: pip install 'wavprobe[hf]'"
        ) from error


def find_files(identifier: str, revision: str | None) -> ModelFiles:
    """Return the directory of `identifier`, with or without "hf:"; a repository is downloaded from the hub."""
    folder = Path(identifier.removeprefix("hf:"))
    if folder.is_dir():
        return ModelFiles(folder, str(folder))
    repository, _, typed = identifier.removeprefix("hf:").partition("@")
    if typed and revision and typed != revision:
        raise UserError(f"{identifier} names revision {typed!r}, but {revision!r} was asked for too; keep one.")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        raise UserError(
            f"{identifier!r} is neither a directory nor a repository of the hub; type hf:ORG/NAME[@REVISION]."
        )
    found = fetch(repository, typed or revision)
    return ModelFiles(found.folder, repository, found.revision)


def read_settings(model_files: ModelFiles) -> tuple[Any, Any]:
    """Return the model's configuration and its feature extractor.

    The extractor decides on standardisation of waveforms. It must be in the checkpoint: transformers' default would
    silently standardise for models that were trained without.
    """
    from huggingface_hub.errors import StrictDataclassError

    library = transformers_library()
    try:
        config = library.AutoConfig.from_pretrained(model_files.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise UserError(
            f"{model_files.origin} has no config.json that transformers understands ({first_line(error)}). "
            "Code from the hub is not run here; wrap a model that has its own code as module.py:function."
        ) from error
    try:
        extractor = library.AutoFeatureExtractor.from_pretrained(model_files.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{model_files.origin} ({config.model_type}) has no preprocessor_config.json of a feature extractor "
            f"({first_line(error)}). If it is a speech encoder, save the extractor beside the model: "
            "extractor.save_pretrained(directory)."
        ) from error
    rate = getattr(extractor, "sampling_rate", None)
    if rate != SAMPLE_RATE:
        raise UserError(
            f"{model_files.origin} ({config.model_type}) takes audio at {rate} Hz; "
            f"expected a speech encoder for {SAMPLE_RATE} Hz. Choose another model."
        )
    return config, extractor


def trained_encoder(model_files: ModelFiles, config: Any) -> tuple[Any, list[str]]:
    """Return the encoder with the checkpoint's weights, and the names of the checkpoint's other tensors.

    .bin files are unpickled with only tensors allowed; safetensors files contain nothing else.
    """
    from safetensors import SafetensorError

    library = transformers_library()
    try:
        # Missing tensors are drawn at random before they can be refused below.
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, report = library.AutoModel.from_pretrained(
                model_files.folder, config=config, trust_remote_code=False, weights_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(
            f"The weights of {model_files.origin} cannot be loaded as {config.model_type} "
            f"({type(error).__name__}: {first_line(error)}). Download or save the checkpoint again."
        ) from error
    encoder = encoder_of(model)
    path = next(name for name, module in model.named_modules() if module is encoder)
    prefix = f"{path}." if path else ""
    refuse_missing(model_files, [name for name in report["missing_keys"] if name.startswith(prefix)])
    refuse_broken(model_files, encoder)
    unexpected = sorted(report["unexpected_keys"])
    refuse_left_over(model_files, unexpected)
    return encoder, [name for name in unexpected if not name.endswith(TRAINING_ONLY)]


def untrained_encoder(config: Any, seed: int) -> Any:
    """Return the encoder with weights drawn from `seed`; the global generator is restored."""
    library = transformers_library()
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return encoder_of(library.AutoModel.from_config(config, trust_remote_code=False))


def encoder_of(model: Any) -> Any:
    """Return the encoder of an encoder-decoder model, and any other model itself."""
    return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model


def refuse_missing(model_files: ModelFiles, names: list[str]) -> None:
    """Raise UserError if the checkpoint lacks tensors that the states depend on."""
    missing = sorted(name for name in names if not name.endswith(TRAINING_ONLY))
    if missing:
        raise UserError(
            f"{model_files.origin} lacks {len(missing)} tensors of the encoder: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}. They would be random; get a complete checkpoint, "
            "or add --random-init for untrained weights."
        )


def refuse_broken(model_files: ModelFiles, encoder: Any) -> None:
    """Raise UserError if a weight is NaN or infinite."""
    broken = [name for name, tensor in encoder.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise UserError(
            f"{model_files.origin} has NaN or infinite numbers in {len(broken)} tensors, {broken[0]} first; "
            "get an intact checkpoint."
        )


def refuse_left_over(model_files: ModelFiles, names: list[str]) -> None:
    """Raise UserError if tensors of an encoder block were not used: the configuration describes another model."""
    blocks = [name for name in names if BLOCK.search(name)]
    if blocks:
        raise UserError(
            f"{model_files.origin} has {len(blocks)} tensors of blocks that its config.json does not describe, "
            f"{blocks[0]} first; put the config.json that belongs to the weights beside them."
        )


def shortest_utterance(config: Any) -> int:
    """Return the samples under the first frame, from the kernels and strides in the configuration, if it has them."""
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if not kernels or not strides:
        return SHORTEST
    return receptive_field(kernels, strides)


def fixed_window(extractor: Any) -> int | None:
    """Return the samples of the window of an encoder with a fixed input length (Whisper: 30 s), else None."""
    whisper = isinstance(extractor, transformers_library().WhisperFeatureExtractor)
    return int(extractor.n_samples) if whisper else None


def valid_frames(frames: int, samples: int, window: int | None, mask: Tensor | None) -> int:
    """Return how many of the encoder's `frames` belong to the utterance.

    samples: of the utterance.
    window: fixed number of samples that all frames cover; a frame counts if it begins in the utterance.
    mask: (1, M) ones and zeros over the features; a frame counts if any of its features does.
    """
    if window is not None:
        return min(frames, math.ceil(samples * frames / window))
    if mask is not None:
        return math.ceil(frames * int(mask.sum()) / mask.shape[-1])
    return frames


def stack_states(output: Any, name: str) -> Tensor:
    """Return the states of one utterance, (L, T, D): the input of each block, then the encoder's output.

    Raises UserError for a model that gives no hidden states, or states of different shapes.
    """
    hidden = getattr(output, "hidden_states", None)
    if not hidden or getattr(output, "last_hidden_state", None) is None:
        raise UserError(
            f"{name} gives no hidden states ({type(output).__name__}); "
            "choose a transformer encoder, or wrap the model as module.py:function."
        )
    states = [*hidden[:-1], output.last_hidden_state]
    shapes = sorted({tuple(state.shape) for state in states})
    if len(shapes) > 1 or len(shapes[0]) != 3:
        raise UserError(
            f"The layers of {name} differ in frame rate or width, or are not (batch, frames, width): {shapes}. "
            "Wrap it as module.py:function to bring them to one shape."
        )
    return torch.cat(states)


def settings_of(config: Any, extractor: Any) -> Mapping[str, object]:
    """Return the settings that the states depend on: architecture and preprocessing of the waveform."""
    architecture = json.loads(config.to_json_string(use_diff=False))
    return {
        "extractor": EXTRACTOR_VERSION,
        "config": {key: value for key, value in architecture.items() if key not in IGNORED_SETTINGS},
        "preprocessor": json.loads(extractor.to_json_string()),
    }


def normalisation_note(extractor: Any) -> str:
    """Return a sentence on how the checkpoint's feature extractor preprocesses a waveform."""
    kind = type(extractor).__name__
    if not hasattr(extractor, "do_normalize"):
        return f"Input prepared by {kind}."
    verb = "standardises" if extractor.do_normalize else "does not standardise"
    return f"Input prepared by {kind}, which {verb} each utterance."


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' report of missing and unexpected tensors, which this module checks itself."""
    logging = transformers_library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without the final period."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
