"""Read WavLM checkpoints of every known format, and write Hugging Face's.

Checkpoint files are untrusted: only safetensors and PyTorch's weights-only loader are used, so no file can run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files
from upstream.json_file import read_json_object
from upstream.wavlm import names
from upstream.wavlm.config import BASE, LARGE, WavLMConfig, from_hugging_face, from_microsoft, with_values
from upstream.wavlm.model import WavLM
from upstream.weight_files import first_names, read_weights, weight_files

FORMATS = (
    "a Hugging Face directory (config.json with model.safetensors or pytorch_model.bin), "
    "Microsoft's WavLM-*.pt, torchaudio's wavlm_*.pth, or an s3prl checkpoint of a fine-tuned upstream"
)
NO_CONFIGURATION = (
    "The file has no configuration: sizes are those of the tensors, strides and the largest distance of the "
    "position bias are as published."
)
# Tensors of task heads that may be in a checkpoint beside the encoder, and are ignored.
HEAD_PREFIXES = (
    "lm_head.",
    "projector.",
    "classifier.",
    "tdnn.",
    "feature_extractor.",
    "objective.",
    "layer_weights",
    "adapter.",
    "aux.",
)


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    tensors: under Hugging Face's names, in the precision of the file.
    format: its format, in words.
    file_sha256: digest of the weight file; of the digests in order if there are several files.
    notes: what was inferred or ignored.
    """

    config: WavLMConfig
    tensors: names.Tensors
    format: str
    file_sha256: str
    notes: tuple[str, ...] = ()

    def build(self) -> WavLM:
        """Return the model with these weights in float32; checks that every parameter comes from the file."""
        with torch.device("meta"):
            model = WavLM(self.config)
        model.load_state_dict(names.to_native(self.tensors, self.config), strict=True, assign=True)
        empty = [name for name, parameter in model.named_parameters() if parameter.is_meta]
        assert not empty, f"parameters without weights: {empty}"  # strict loading leaves none
        return model


def read(path: Path) -> Checkpoint:
    """Read a checkpoint of any known format and check its tensors against its configuration.

    Raises UserError if the path is missing, if the file is damaged, of an unknown format or would unpickle arbitrary
    objects, and if tensors are missing, unexpected, not finite or of a wrong shape.
    """
    if not path.exists():
        raise UserError(f"There is no checkpoint at {path}. Expected {FORMATS}.")
    if path.is_dir():
        checkpoint = _read_hugging_face(path)
    elif path.suffix in (".safetensors", ".bin") or path.name == "config.json":
        checkpoint = _read_hugging_face(path.parent)
    else:
        checkpoint = _read_torch_file(path)
    names.check(checkpoint.tensors, checkpoint.config, str(path))
    return checkpoint


def is_of_another_model(path: Path) -> bool:
    """Return True for a Hugging Face directory whose config.json names another model than WavLM."""
    content = _read_json(path / "config.json") if path.is_dir() else None
    return content is not None and content.get("model_type", "wavlm") != "wavlm"


def write(
    folder: Path, config: WavLMConfig, tensors: Mapping[str, Tensor], architectures: tuple[str, ...] = ("WavLMModel",)
) -> None:
    """Write a Hugging Face directory that transformers and this package can read.

    tensors: under Hugging Face's names. `normalize_epsilon` in preprocessor_config.json is read by this package only;
    transformers ignores it and always uses 1e-7.

    Raises UserError for tensors that do not match the configuration, and if the folder cannot be written.
    """
    names.check(tensors, config, "The model to write")
    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": config.normalize_waveform,
        "normalize_epsilon": config.normalize_epsilon,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 16_000,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contents = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        save_file(contents, folder / "model.safetensors", metadata={"format": "pt"})
        content = config.to_hugging_face() | {"architectures": list(architectures)}
        (folder / "config.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write the checkpoint to {folder} ({error}). Choose another folder.") from error


# ---------------------------------------------------------------- Hugging Face


def read_config(path: Path) -> WavLMConfig:
    """Return the configuration of a checkpoint; a Hugging Face directory needs no weights for this."""
    return _hugging_face_config(path)[0] if path.is_dir() else read(path).config


def _hugging_face_config(folder: Path) -> tuple[WavLMConfig, bool]:
    """Return the configuration of a directory, and True if it has a preprocessor_config.json."""
    content = _read_json(folder / "config.json")
    if content is None:
        raise UserError(
            f"{folder} has no config.json; found {first_names(folder)}. Expected {FORMATS}. "
            "Hugging Face weights need the config.json of their repository in the same directory."
        )
    preprocessor = _read_json(folder / "preprocessor_config.json")
    return from_hugging_face(content, preprocessor), preprocessor is not None


def _read_hugging_face(folder: Path) -> Checkpoint:
    config, has_preprocessor = _hugging_face_config(folder)
    files = weight_files(folder)
    tensors: names.Tensors = {}
    for file in files:
        tensors |= tensors_of(read_weights(file), file)
    encoder, heads = _without_heads(tensors)
    notes = []
    if not has_preprocessor:
        does = "standardised" if config.normalize_waveform else "not standardised"
        notes.append(f"No preprocessor_config.json: waveforms are {does}, as published for this kind of front end.")
    if heads:
        notes.append(f"Ignored {len(heads)} tensors of a task head ({heads[0]} first).")
    return Checkpoint(
        config,
        names.with_newer_weight_norm(encoder),
        f"Hugging Face directory ({', '.join(file.name for file in files)})",
        fingerprint_files(files),
        tuple(notes),
    )


def _without_heads(tensors: names.Tensors) -> tuple[names.Tensors, list[str]]:
    """Return the encoder's tensors without the prefix of task models, and the names of the head's tensors.

    Only a task model has the prefix `wavlm.`; its tensors without the prefix are not the encoder's.
    """
    if not any(name.startswith("wavlm.") for name in tensors):
        return tensors, []
    encoder = {name.removeprefix("wavlm."): tensor for name, tensor in tensors.items() if name.startswith("wavlm.")}
    others = [name for name in tensors if not name.startswith("wavlm.")]
    strangers = {name: tensors[name] for name in others if not name.startswith(HEAD_PREFIXES)}
    return encoder | strangers, [name for name in others if name not in strangers]


# ---------------------------------------------------------------- .pt, .pth, .ckpt


def _read_torch_file(path: Path) -> Checkpoint:
    content = read_weights(path)
    digest = fingerprint_files([path])
    if isinstance(content.get("cfg"), dict) and "model" in content:
        config = from_microsoft(content["cfg"])
        tensors = names.from_microsoft(tensors_of(content["model"], path))
        return Checkpoint(config, tensors, "Microsoft's checkpoint", digest)
    if "Featurizer" in content or "Downstream" in content or "Upstream" in content:
        return _read_s3prl(path, content, digest)
    if any(str(name).startswith("encoder.transformer.") for name in content):
        encoder = {name: tensor for name, tensor in tensors_of(content, path).items() if not name.startswith("aux.")}
        tensors = names.from_torchaudio(encoder)
        return Checkpoint(
            config_from_shapes(tensors, path), tensors, "torchaudio's state dict", digest, (NO_CONFIGURATION,)
        )
    raise UserError(
        f"{path} is a PyTorch file of an unknown kind; its first keys are {list(content)[:4]}. Expected {FORMATS}."
    )


def _read_s3prl(path: Path, content: Mapping[str, Any], digest: str) -> Checkpoint:
    if "Upstream" not in content:
        raise UserError(
            f"{path} is an s3prl checkpoint of a frozen run: it has {', '.join(sorted(content))} but no upstream. "
            "Load the upstream of that run by its name or file."
        )
    upstream = {name.removeprefix("model."): tensor for name, tensor in tensors_of(content["Upstream"], path).items()}
    tensors = names.from_microsoft(upstream)
    return Checkpoint(
        config_from_shapes(tensors, path), tensors, "the upstream of an s3prl checkpoint", digest, (NO_CONFIGURATION,)
    )


def tensors_of(content: object, path: Path) -> names.Tensors:
    """Return `content` if it is a dictionary of named tensors; raises UserError otherwise."""
    if isinstance(content, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        return content
    raise UserError(f"{path} does not have named tensors where its weights should be. Expected {FORMATS}.")


def config_from_shapes(tensors: Mapping[str, Tensor], path: Path) -> WavLMConfig:
    """Return the configuration of a checkpoint that has none, from the shapes of its tensors.

    Strides, the largest bucket distance, the place of the norms and the waveform's standardisation cannot be seen in
    the shapes; they are those of the published model with the same front end.
    """
    try:
        convolutions = [
            tensors[f"feature_extractor.conv_layers.{i}.conv.weight"].shape
            for i in range(sum(name.endswith(".conv.weight") for name in tensors))
        ]
        num_buckets, heads = tensors["encoder.layers.0.attention.rel_attn_embed.weight"].shape
        inner, dim = tensors["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape
        group_width, positions = tensors[names.DIRECTION].shape[1:]
    except KeyError as error:
        raise UserError(
            f"{path} lacks the tensor {error.args[0]}, so it is not a complete WavLM encoder. Expected {FORMATS}."
        ) from error
    except ValueError as error:  # a tensor of another rank cannot be unpacked
        raise UserError(f"{path} has tensors of unexpected shapes ({error}). Expected {FORMATS}.") from error
    if tuple(shape[2] for shape in convolutions) != BASE.conv_kernel:
        raise UserError(
            f"{path} has no configuration, and its convolutions have kernels {[shape[2] for shape in convolutions]}, "
            "not the published ones, so their strides are unknown. Convert it to a Hugging Face directory first."
        )
    layer_normed = "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
    published = LARGE if layer_normed else BASE
    layers = {name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")}
    sizes = {
        "hidden_size": dim,
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "conv_dim": tuple(shape[0] for shape in convolutions),
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in tensors,
        "num_conv_pos_embeddings": positions,
        "num_conv_pos_embedding_groups": dim // max(1, group_width),
        "num_buckets": num_buckets,
    }
    return with_values(published, sizes)


# ---------------------------------------------------------------- files


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file, None if it does not exist."""
    if not path.is_file():
        return None
    return read_json_object(path)
