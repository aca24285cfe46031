"""Any speech encoder of the transformers library, from the hub, its local cache or a directory.

The states are those of SUPERB's weighted sum: the input of every block, in order, and in the last place the encoder's
output. From version 5 on, transformers puts the raw output of the last block there for some models; where the model
ends in a layer norm (pre-norm models) that is another tensor, so `last_hidden_state` takes its place.

What decides that weights were really loaded: a tensor of the encoder that the checkpoint lacks is refused by name
(it would be random), except `masked_spec_embed`, which is read only in training. Tensors of the checkpoint that the
encoder has no place for belong to heads and are noted, except tensors of a block, which mean that the
configuration describes a smaller model and are refused.
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
from upstream.errors import MendableError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors
from upstream.hub import fetch, weight_files

EXTRACTOR_VERSION = 1  # raise it whenever the same weights come to mean other states

# Used in training only; checkpoints may lack it, and then it is random: it takes no part in states or fingerprint.
TRAINING_ONLY = "masked_spec_embed"
BLOCK = re.compile(r"(^|\.encoder\.|^encoder\.)layers\.\d+\.")

# 0.1 s: enough for every front end that does not state its kernels (mel frames of 25 ms in pairs, Moonshine's stem).
SHORTEST = 1_600
# Samples of two probes that lie 0.96 s apart: a whole number of frames at 10, 12, 15, 16, 20, 24, 30, 32, 40 and 80 ms,
# so that their difference gives the stride without remainder.
PROBES = (7_680, 23_040)

# These say where and when the checkpoint was saved, not what it computes.
PASSING_SETTINGS = {"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype", "torch_dtype"}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    source, revision: the hub repository and its commit, or the directory and None.
    """

    folder: Path
    source: str
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
    """A frozen transformers speech encoder.

    identifier: [hf:]ORG/NAME[@REVISION] or a directory that `save_pretrained` wrote, which comes first where both
        could be meant.
    revision: branch, tag or commit, where the identifier does not say it.
    random_init: the same architecture with untrained weights drawn from `seed`; torch's generator is left as it was.

    Raises MendableError where transformers is not installed, the checkpoint cannot be had or read, lacks tensors, is
    no 16 kHz speech encoder, needs code of its own, or gives no hidden states.
    """
    transformers_library()  # complain of its absence before anything is fetched
    checkpoint = find_checkpoint(identifier, revision)
    config, extractor = read_settings(checkpoint)
    notes: list[str] = []
    if getattr(config, "add_adapter", False):
        config.add_adapter = False
        notes.append("The adapter behind the encoder was left out; its frames are longer than those of the blocks.")
    if random_init:
        encoder, files = untrained_encoder(config, seed), []
    else:
        files = weight_files(checkpoint.folder)
        encoder, head = trained_encoder(checkpoint, config)
        notes += [f"{len(head)} tensors of a head were left out, {head[0]} first."] if head else []
    provenance = Provenance(
        source=checkpoint.source,
        format=f"transformers {type(encoder).__name__}",
        revision=checkpoint.revision,
        file_sha256=fingerprint_files(files) if files else None,
        random_init=random_init,
        notes=(*notes, normalisation_note(extractor)),
    )
    return HuggingFaceUpstream(identifier, encoder, extractor, provenance, torch.device(device), dtype)


class HuggingFaceUpstream(Upstream):
    """A transformers encoder that hears one utterance at a time, so that batch-mates never matter."""

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
        return HiddenStates.from_utterances([self.encode_one(waveform) for waveform in waveforms])

    def encode_one(self, waveform: Tensor) -> Tensor:
        """The states of one utterance, (S,) -> (L, T, D).

        Raises MendableError for an utterance that does not fit the window of an encoder that has one (Whisper: 30 s).
        """
        samples = len(waveform)
        if self.window is not None and samples > self.window:
            raise MendableError(
                f"An utterance of {samples / SAMPLE_RATE:.1f} s does not fit {self.name}, which hears at most "
                f"{self.window / SAMPLE_RATE:.0f} s at once; cut it, leave it out, or use an upstream without a limit."
            )
        layers, mask = self._run(waveform)
        return layers[:, : valid_frames(layers.shape[1], samples, self.window, mask)]

    def _run(self, waveform: Tensor) -> tuple[Tensor, Tensor | None]:
        """All states of one utterance, (S,) -> (L, T, D), and the mask of its features, where it has one."""
        features = self.extractor(waveform.cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        name = "input_values" if "input_values" in features else "input_features"
        inputs = {name: features[name].to(self.device, self.dtype)}
        # A waveform on its own is not padded and needs no mask; features may be filled up to a round number.
        mask = features.get("attention_mask") if name == "input_features" else None
        if mask is not None:
            inputs["attention_mask"] = mask.to(self.device)
        output = self.encoder(**inputs, output_hidden_states=True, return_dict=True)
        return stack_states(output, self.name), mask

    def _measure(self) -> tuple[int, int, int]:
        """The number of layers, their width, and the samples between two frames, from encoding probes.

        Raises MendableError for a model that cannot be run on speech or is not frame-synchronous.
        """
        generator = torch.Generator().manual_seed(0)
        waveforms = [0.1 * torch.randn(n, generator=generator) for n in ((self.shortest,) if self.window else PROBES)]
        try:
            with torch.no_grad():
                states = [self._run(waveform.to(self.device))[0] for waveform in waveforms]
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise MendableError(
                f"{self.name} cannot be run on a waveform alone ({type(error).__name__}: {first_line(error)}). "
                "It may be no speech encoder; a model that needs special treatment fits behind module.py:function."
            ) from error
        num_layers, frames, dim = states[0].shape
        if self.window is not None:
            return num_layers, dim, round(self.window / frames)
        further = states[1].shape[1] - frames
        if further <= 0:
            raise MendableError(
                f"{self.name} gives {frames} frames for {PROBES[0]} samples and {states[1].shape[1]} for {PROBES[1]}; "
                "expected an encoder whose frames follow the audio. Wrap it as module.py:function to cut its states."
            )
        return num_layers, dim, round((PROBES[1] - PROBES[0]) / further)


def transformers_library() -> Any:
    """The transformers package, an optional extra; MendableError where it is not installed."""
    try:
        return import_module("transformers")
    except ImportError as error:
        raise MendableError(
            "Encoders of the Hugging Face hub need the transformers library, which is not installed here; "
            "type: pip install 'wavprobe[hf]'"
        ) from error


def find_checkpoint(identifier: str, revision: str | None) -> Checkpoint:
    """The directory that `identifier` stands for, with or without "hf:", fetched from the hub where it is none."""
    folder = Path(identifier.removeprefix("hf:"))
    if folder.is_dir():
        return Checkpoint(folder, str(folder))
    repository, _, said = identifier.removeprefix("hf:").partition("@")
    if said and revision and said != revision:
        raise MendableError(f"{identifier} names revision {said!r}, but {revision!r} was asked for too; keep one.")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository):
        raise MendableError(
            f"{identifier!r} is neither a directory nor a repository of the hub; type hf:ORG/NAME[@REVISION]."
        )
    found = fetch(repository, said or revision)
    return Checkpoint(found.folder, repository, found.revision)


def read_settings(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """The model's configuration and its feature extractor.

    The extractor says whether waveforms are standardised. It is never guessed: transformers' default would silently
    standardise for models trained without.
    """
    from huggingface_hub.errors import StrictDataclassError

    library = transformers_library()
    try:
        config = library.AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise MendableError(
            f"{checkpoint.source} has no config.json that transformers understands ({first_line(error)}). "
            "Code from the hub is not run here; a model that brings its own fits behind module.py:function."
        ) from error
    try:
        extractor = library.AutoFeatureExtractor.from_pretrained(checkpoint.folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MendableError(
            f"{checkpoint.source} ({config.model_type}) has no preprocessor_config.json of a feature extractor "
            f"({first_line(error)}). Either it is no speech encoder, or save the extractor beside the model: "
            "extractor.save_pretrained(directory)."
        ) from error
    rate = getattr(extractor, "sampling_rate", None)
    if rate != SAMPLE_RATE:
        raise MendableError(
            f"{checkpoint.source} ({config.model_type}) takes audio at {rate} Hz; "
            f"expected a speech encoder for {SAMPLE_RATE} Hz. Choose another model."
        )
    return config, extractor


def trained_encoder(checkpoint: Checkpoint, config: Any) -> tuple[Any, list[str]]:
    """The encoder with the checkpoint's weights, and the names of the checkpoint's tensors it has no place for.

    safetensors files hold tensors alone; .bin files are unpickled by torch with nothing but tensors allowed.
    """
    from safetensors import SafetensorError

    library = transformers_library()
    try:
        # Tensors that the checkpoint lacks are drawn at random before we can refuse them.
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, report = library.AutoModel.from_pretrained(
                checkpoint.folder, config=config, trust_remote_code=False, weights_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise MendableError(
            f"The weights of {checkpoint.source} cannot be loaded as {config.model_type} "
            f"({type(error).__name__}: {first_line(error)}). Download or save the checkpoint again."
        ) from error
    encoder = encoder_of(model)
    own_name = next(name for name, module in model.named_modules() if module is encoder)
    prefix = f"{own_name}." if own_name else ""
    refuse_missing(checkpoint, [name for name in report["missing_keys"] if name.startswith(prefix)])
    refuse_broken(checkpoint, encoder)
    unexpected = sorted(report["unexpected_keys"])
    refuse_left_over(checkpoint, unexpected)
    return encoder, [name for name in unexpected if not name.endswith(TRAINING_ONLY)]


def untrained_encoder(config: Any, seed: int) -> Any:
    """The encoder with weights drawn from `seed`; the global generator is restored afterwards."""
    library = transformers_library()
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return encoder_of(library.AutoModel.from_config(config, trust_remote_code=False))


def encoder_of(model: Any) -> Any:
    """The encoder of an encoder-decoder model, any other model itself."""
    return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model


def refuse_missing(checkpoint: Checkpoint, names: list[str]) -> None:
    """Raise MendableError if the checkpoint lacks tensors that the states depend on."""
    missing = sorted(name for name in names if not name.endswith(TRAINING_ONLY))
    if missing:
        raise MendableError(
            f"{checkpoint.source} lacks {len(missing)} tensors of the encoder: {', '.join(missing[:3])}"
            f"{', ...' if len(missing) > 3 else ''}. They would be random; get a complete checkpoint, "
            "or add --random-init if untrained weights are meant."
        )


def refuse_broken(checkpoint: Checkpoint, encoder: Any) -> None:
    """Raise MendableError if a weight is NaN or infinite."""
    broken = [name for name, tensor in encoder.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise MendableError(
            f"{checkpoint.source} holds NaN or infinite numbers in {len(broken)} tensors, {broken[0]} first; "
            "get an intact checkpoint."
        )


def refuse_left_over(checkpoint: Checkpoint, names: list[str]) -> None:
    """Raise MendableError if tensors of an encoder block found no place: the configuration describes another model."""
    blocks = [name for name in names if BLOCK.search(name)]
    if blocks:
        raise MendableError(
            f"{checkpoint.source} holds {len(blocks)} tensors of blocks that its config.json does not describe, "
            f"{blocks[0]} first; put the config.json that belongs to the weights beside them."
        )


def shortest_utterance(config: Any) -> int:
    """Samples under the first frame: from the convolution kernels and strides where the configuration states them."""
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if not kernels or not strides:
        return SHORTEST
    return receptive_field(kernels, strides)


def fixed_window(extractor: Any) -> int | None:
    """Samples in the window of an encoder that always hears the same length (Whisper: 30 s), else None."""
    whisper = isinstance(extractor, transformers_library().WhisperFeatureExtractor)
    return int(extractor.n_samples) if whisper else None


def valid_frames(frames: int, samples: int, window: int | None, mask: Tensor | None) -> int:
    """How many of an utterance's `frames` are its own.

    samples: of the utterance.
    window: samples that all frames together cover, where that is fixed; a frame counts if it begins in the utterance.
    mask: (1, M) ones and zeros over the features; a frame counts if any feature in its share of them does.
    """
    if window is not None:
        return min(frames, math.ceil(samples * frames / window))
    if mask is not None:
        return math.ceil(frames * int(mask.sum()) / mask.shape[-1])
    return frames


def stack_states(output: Any, name: str) -> Tensor:
    """The states of one utterance, (L, T, D): the input of each block, then the encoder's output.

    Raises MendableError for a model that gives no hidden states, or states of differing shapes.
    """
    hidden = getattr(output, "hidden_states", None)
    if not hidden or getattr(output, "last_hidden_state", None) is None:
        raise MendableError(
            f"{name} gives no hidden states ({type(output).__name__}); "
            "choose a transformer encoder, or wrap the model as module.py:function."
        )
    states = [*hidden[:-1], output.last_hidden_state]
    shapes = sorted({tuple(state.shape) for state in states})
    if len(shapes) > 1 or len(shapes[0]) != 3:
        raise MendableError(
            f"The layers of {name} differ in frame rate or width, or are no (batch, frames, width): {shapes}. "
            "Wrap it as module.py:function to bring them to one shape."
        )
    return torch.cat(states)


def settings_of(config: Any, extractor: Any) -> Mapping[str, object]:
    """What the states depend on besides the weights: architecture and treatment of the waveform."""
    architecture = json.loads(config.to_json_string(use_diff=False))
    return {
        "extractor": EXTRACTOR_VERSION,
        "config": {key: value for key, value in architecture.items() if key not in PASSING_SETTINGS},
        "preprocessor": json.loads(extractor.to_json_string()),
    }


def normalisation_note(extractor: Any) -> str:
    """A sentence on what the checkpoint's feature extractor does to a waveform."""
    kind = type(extractor).__name__
    if not hasattr(extractor, "do_normalize"):
        return f"Input prepared by {kind}."
    verb = "standardises" if extractor.do_normalize else "does not standardise"
    return f"Input prepared by {kind}, which {verb} each utterance."


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' report of missing and unexpected tensors: it is judged here, in our own words."""
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
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
