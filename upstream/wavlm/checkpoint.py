"""Read WavLM checkpoints of every known format, and write Hugging Face's.

Checkpoint files are untrusted: only safetensors and PyTorch's weights-only loader are used, so no file can run code.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files, fingerprint_tensors
from upstream.named_tensors import Tensors, named_tensors
from upstream.text import counted
from upstream.wavlm import names, shapes
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.config_formats import from_microsoft, refuse_adapter_layers
from upstream.wavlm.directory import is_hugging_face, settings_beside, settings_of
from upstream.wavlm.model import WavLM
from upstream.wavlm.search import HUGGING_FACE, MICROSOFT, Found, find_encoder
from upstream.weight_files import is_there, read_weights, weight_files

FORMATS = (
    "a Hugging Face directory (config.json with model.safetensors or pytorch_model.bin), or a file with the tensors "
    "of a WavLM under Microsoft's, torchaudio's, s3prl's or Hugging Face's names"
)
NO_CONFIGURATION = (
    "The file has no configuration: sizes are those of the tensors, strides and the largest distance of the "
    "position bias are as published."
)
HEADED = "wavlm."  # precedes the names of the encoder's tensors in a task model


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    tensors: under the project's names, which are Hugging Face's, in the precision of the file.
    format: its format, in words.
    file_sha256: digest of the weight file; of the digests in order if there are several files.
    notes: what was inferred, and what was done to the weights before.
    beside: the tensors that are no part of the encoder, such as those of a head, under the names of the file; of a
        task model within a larger checkpoint, under those of the model.
    prefix: what preceded the names of the encoder's tensors there, "wavlm.".
    """

    config: WavLMConfig
    tensors: Tensors
    format: str
    file_sha256: str
    notes: tuple[str, ...] = ()
    beside: Tensors = field(default_factory=dict)
    prefix: str = ""

    @property
    def notes_on_encoder(self) -> tuple[str, ...]:
        """The notes for whoever uses the encoder alone: what beside it is ignored, too."""
        if not self.beside:
            return self.notes
        ignored = f"Ignored {counted(len(self.beside), 'tensor')} beside the encoder ({next(iter(self.beside))} first)."
        return *self.notes, ignored

    def build(self) -> WavLM:
        """Return the model with these weights in float32; checks that every parameter comes from the file."""
        with torch.device("meta"):
            model = WavLM(self.config)
        model.load_state_dict(names.to_native(self.tensors, self.config), strict=True, assign=True)
        empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
        assert not empty, f"parameters without weights: {empty}"  # strict loading leaves none
        return model

    def fingerprint(self, extractor_version: int) -> str:
        """Return the digest of what the states depend on: the tensors as the file has them, and the settings.

        Nothing computed is in it, so it is the same on every machine; nor is the mask vector, which is used in
        training only. The same tensors in another format have the same fingerprint.
        """
        stored = {name: tensor for name, tensor in self.tensors.items() if name != names.MASK}
        return fingerprint_tensors(stored, self.config.fingerprint_settings() | {"extractor": extractor_version})


def read(path: Path) -> Checkpoint:
    """Read a checkpoint of any known format and check its tensors against its configuration.

    path: a directory, or the weight file in it, which is then the one that is read.

    Raises UserError if the path is missing, if a file is damaged, of an unknown format or would unpickle arbitrary
    objects, if there is no WavLM or more than one, if adapters are not merged, and if tensors are missing,
    unexpected, not finite, of a wrong shape or no plain weights.
    """
    if not is_there(path):
        raise UserError(f"There is no checkpoint at {path}. Expected {FORMATS}.")
    if path.name == "config.json":
        path = path.parent
    settings = settings_of(path) if path.is_dir() else None
    files = weight_files(path)
    content: dict[str, Any] = {}
    for file in files:
        content |= read_weights(file)
    stored = named_tensors(content)
    encoder = find_encoder(stored, path)
    if encoder is None:
        raise UserError(_no_encoder(path, content))
    if settings is None:
        settings = settings_beside(path) if encoder.spelling is HUGGING_FACE or is_hugging_face(path) else None
    if settings is not None:
        config, notes = settings.config, settings.notes
    else:
        config, notes = _own_configuration(content, encoder, path)
    refuse_adapter_layers(config)
    shapes.check(encoder.tensors, config, str(path))
    # What wraps a whole task model, "state_dict." say, is no part of the names of its head.
    outer = encoder.prefix.removesuffix(HEADED) if encoder.prefix.endswith(HEADED) else ""
    beside = {name.removeprefix(outer): stored[name] for name in encoder.beside}
    kind = _format(path, files, content, encoder)
    if names.FOLDED in encoder.tensors:
        notes = (*notes, "The weight norm of the positional convolution was folded into its weight before.")
    prefix = encoder.prefix.removeprefix(outer)
    return Checkpoint(config, encoder.tensors, kind, fingerprint_files(files), notes, beside, prefix)


def read_config(path: Path) -> WavLMConfig:
    """Return the configuration of a checkpoint; a Hugging Face directory needs no weights for this."""
    folder = path.parent if path.name == "config.json" else path
    config = settings_of(folder).config if folder.is_dir() else read(path).config
    refuse_adapter_layers(config)
    return config


def _own_configuration(content: Mapping[str, Any], encoder: Found, path: Path) -> tuple[WavLMConfig, tuple[str, ...]]:
    """Return the configuration in a PyTorch file, else that of the tensors' shapes, and a note on it."""
    cfg = mapping(content.get("cfg"))
    if encoder.spelling is MICROSOFT and "encoder_embed_dim" in cfg:
        return from_microsoft(cfg), ()
    if encoder.spelling is MICROSOFT and "encoder_embed_dim" in mapping(cfg.get("model")):  # fairseq's training
        return from_microsoft(mapping(cfg.get("task")) | mapping(cfg["model"])), ()
    return shapes.config_from_shapes(encoder.tensors, str(path)), (NO_CONFIGURATION,)


def mapping(value: object) -> dict[str, Any]:
    """Return settings as a dictionary, whether they were saved as one or as a namespace; {} for anything else."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    return {str(key): entry for key, entry in value.items()} if isinstance(value, Mapping) else {}


def _format(path: Path, files: list[Path], content: Mapping[str, Any], encoder: Found) -> str:
    listed = ", ".join(file.name for file in files)
    if path.is_dir():
        return f"Hugging Face directory ({listed})"
    if encoder.spelling is MICROSOFT and encoder.prefix.startswith("Upstream."):
        return "the upstream of an s3prl checkpoint"
    if encoder.spelling is MICROSOFT and encoder.prefix == "model." and "cfg" in content:
        return "Microsoft's checkpoint"
    return f"weights with {encoder.spelling.owner}'s names ({listed})"


def _no_encoder(path: Path, content: Mapping[str, Any]) -> str:
    """Return the message for a file without a WavLM."""
    if {"Featurizer", "Downstream"} & content.keys() and "Upstream" not in content:
        has = ", ".join(map(str, list(content)[:6]))
        return (
            f"{path} is an s3prl checkpoint of a frozen run: it has {has} but no upstream. "
            "Load the upstream of that run by its name or file."
        )
    if "param_groups" in content:
        return f"{path} is the state of an optimiser. Name the weights beside it, or their folder: {path.parent}"
    first = ", ".join(list(named_tensors(content))[:3]) or f"no tensors, but {', '.join(map(str, list(content)[:4]))}"
    return (
        f"{path} has no WavLM: none of its tensors is a gate or table of WavLM's position bias. It has {first}. "
        f"Expected {FORMATS}. Other encoders are read from a Hugging Face directory: -u hf:DIRECTORY."
    )


def write(
    folder: Path,
    config: WavLMConfig,
    tensors: Mapping[str, Tensor],
    architecture: str = "WavLMModel",
    head: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a Hugging Face directory that transformers and this package can read.

    tensors: of the encoder, under the project's names. architecture: the class in transformers. head: of a task model,
    under its names there. `normalize_epsilon` in preprocessor_config.json is read by this package only; transformers
    ignores it and always uses 1e-7.

    Raises UserError for tensors that do not match the configuration, and if the folder cannot be written.
    """
    tensors = names.with_weight_norm(tensors)
    shapes.check(tensors, config, "The model to write")
    if not (config.mask_time_prob or config.mask_feature_prob):  # then transformers' model has no mask vector
        tensors = {name: tensor for name, tensor in tensors.items() if name != names.MASK}
    if head is not None:
        tensors = {f"{HEADED}{name}": tensor for name, tensor in tensors.items()} | dict(head)
    content = config.to_hugging_face() | {"architectures": [architecture], "dtype": _precision(tensors)}
    content.pop("torch_dtype", None)  # transformers 4's name of dtype, which would contradict it
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contents = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        save_file(contents, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(_as_json(content))
        (folder / "preprocessor_config.json").write_text(_as_json(_preprocessor(config)))
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write the checkpoint to {folder} ({error}). Choose another folder.") from error


def _preprocessor(config: WavLMConfig) -> dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": config.normalize_waveform,
        "normalize_epsilon": config.normalize_epsilon,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 16_000,
    }


def _precision(tensors: Mapping[str, Tensor]) -> str:
    """Return the name of the most exact type among tensors, which transformers loads a model in."""
    dtype = max((tensor.dtype for tensor in tensors.values()), key=lambda own: own.itemsize)
    return str(dtype).removeprefix("torch.")


def _as_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"
