"""The weights of a transformers encoder: all of them from the checkpoint, in float32, under names that are checked.

Whatever config.json says of precision, weights are loaded in float32, in which those of all files are exact. A tensor
of the encoder that is missing, left over, of another shape or of numbers that are no weights is an error: then
config.json describes another model, and the states would be random in part. Only tensors beside the encoder may be
left over: those of heads, of a decoder, and of pre-training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.foreign import foreign_code
from upstream.huggingface.config import Configuration
from upstream.huggingface.files import ModelFiles
from upstream.huggingface.library import quiet_transformers, transformers_library
from upstream.weight_files import read_weights, refuse_unmerged, require_floats, weight_files

# Used in training only. Checkpoints may lack it, and then it is random, so it is not in the fingerprint.
TRAINING_ONLY = "masked_spec_embed"
MOST_PARAMETERS = 4_000_000_000  # 16 GB in float32
COUNTER = "num_batches_tracked"  # of batch norms, used in training only, too
AFTER_THE_ENCODER = "adapter."  # a module within transformers' encoders, whose output comes after the last block

# The two parts of a weight norm in older files, and their names today.
RENAMED = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}

MEND = "put the config.json that belongs to the weights beside them."


@dataclass(frozen=True)
class Skeleton:
    """A model without numbers, to compare names and shapes with before memory is taken.

    kind: class of the model in transformers.
    prefix: what the encoder's names begin with in task models, "wav2vec2."; None for a model without one.
    path: of the encoder within the model, "encoder." beside a decoder, else nothing.
    tensors: all that it computes with, on the meta device.
    """

    kind: Any
    prefix: str | None
    path: str
    tensors: Mapping[str, Tensor]

    def name_of(self, name: str) -> str:
        """Return the name in the model of a tensor of a file."""
        for old, new in RENAMED.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        return name if name in self.tensors else name.removeprefix(self.prefix or "")

    def of_the_encoder(self, names: Iterable[str], others: Iterable[str] = ()) -> list[str]:
        """Return those of the names that are the encoder's: below its prefix, or else in one of its modules.

        others: further names in the same file. Where some have the prefix, those without are a head's, even
            "feature_extractor.weight".
        """
        names = list(names)
        below = [name for name in names if self.prefix and name.startswith(self.prefix)]
        has_prefix = below or any(self.prefix and name.startswith(self.prefix) for name in others)
        modules = {name.partition(".")[0] for name in self.tensors}
        own = below if has_prefix else [name for name in names if name.partition(".")[0] in modules]
        places = {name: self.name_of(name) for name in own}
        inside = [name for name, place in places.items() if place.startswith(self.path)]
        return [name for name in inside if not places[name].startswith(AFTER_THE_ENCODER)]


def trained_encoder(files: ModelFiles, configuration: Configuration) -> tuple[Any, list[Path], list[str]]:
    """Return the encoder with the checkpoint's weights in float32, the weight files, and the names of other tensors.

    Raises UserError for files that cannot be read, and for tensors of the encoder that are missing, unknown, named
    twice, of another shape, not finite or no plain floats.
    """
    read = weight_files(files.weights or files.folder)
    tensors = tensors_of(read)
    where = files.origin
    refuse_unmerged(tensors, where)
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        skeleton = skeleton_of(configuration)
        own = skeleton.of_the_encoder(tensors)
        refuse_twice(skeleton, own, where)
        require_floats({name: tensors[name] for name in own if not name.endswith(COUNTER)}, where)
        refuse_other_shapes(skeleton, {name: tensors[name] for name in own}, where)
        with foreign_code(
            f"Loading the weights of {where} as {configuration.transformers.model_type} of transformers",
            f"If the weights are intact, {MEND}",
        ):
            model, report = skeleton.kind.from_pretrained(
                None,
                config=configuration.transformers,
                state_dict=tensors,
                dtype=torch.float32,
                attn_implementation=configuration.attention,
                output_loading_info=True,
            )
    encoder = encoder_of(model)
    refuse_missing(skeleton, report["missing_keys"], report["unexpected_keys"], where)
    refuse_broken(encoder, where)
    left = sorted(name for name in report["unexpected_keys"] if not name.endswith(TRAINING_ONLY))
    refuse_left_over(skeleton, model, left, tensors, where)
    return encoder, read, left


def untrained_encoder(configuration: Configuration, seed: int) -> Any:
    """Return the encoder with float32 weights drawn from `seed`; the global generator is restored.

    Raises UserError for a configuration that cannot be built, or with more than `MOST_PARAMETERS`.
    """
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        parameters = sum(tensor.numel() for tensor in skeleton_of(configuration).tensors.values())
        if parameters > MOST_PARAMETERS:
            raise UserError(
                f"config.json describes {parameters:,} parameters; at most {MOST_PARAMETERS:,} are drawn at random. "
                "Check the sizes in it."
            )
        torch.default_generator.manual_seed(seed)
        return encoder_of(model_from(configuration))


def model_from(configuration: Configuration) -> Any:
    """Return the model of a configuration, its weights from torch's generator.

    Raises UserError if it cannot be built: an unknown activation, a width that does not divide, sizes beyond memory.
    """
    with foreign_code(
        f"Building {configuration.transformers.model_type} of transformers from config.json",
        "Correct config.json, or wrap the model as module.py:function.",
    ):
        return transformers_library().AutoModel.from_config(
            configuration.transformers,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation=configuration.attention,
        )


def skeleton_of(configuration: Configuration) -> Skeleton:
    """Return the names and shapes of the model of a configuration; raises UserError if it cannot be built."""
    with torch.device("meta"):
        model = model_from(configuration)
    encoder = encoder_of(model)
    path = next(name for name, module in model.named_modules() if module is encoder)
    prefix = f"{model.base_model_prefix}." if model.base_model_prefix else ""
    return Skeleton(type(model), prefix, f"{path}." if path else "", model.state_dict())


def encoder_of(model: Any) -> Any:
    """Return the encoder of an encoder-decoder model, and any other model itself."""
    return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model


def tensors_of(files: Iterable[Path]) -> dict[str, Tensor]:
    """Return the tensors of the weight files; raises UserError for files of anything else."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        content = read_weights(file)
        others = [name for name, value in content.items() if not isinstance(value, Tensor)]
        if others:
            raise UserError(
                f"{file} has {str(others[0])!r}, which is no tensor, where named tensors should be; save them alone: "
                "torch.save(model.state_dict(), path)."
            )
        tensors |= content
    return tensors


# ---------------------------------------------------------------- checks


def refuse_twice(skeleton: Skeleton, names: Iterable[str], where: str) -> None:
    """Raise UserError if two tensors of a file are for the same place in the encoder."""
    places = defaultdict(list)
    for name in names:
        places[skeleton.name_of(name)].append(name)
    for found in places.values():
        if len(found) > 1:
            raise UserError(
                f"{where} has the same weight twice, as {found[0]} and {found[1]}; remove one of them, or get the "
                "checkpoint as it was published."
            )


def refuse_other_shapes(skeleton: Skeleton, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise UserError if the shape of one of the encoder's tensors is not that of the model."""
    for name, tensor in tensors.items():
        wanted = skeleton.tensors.get(skeleton.name_of(name))
        if wanted is not None and wanted.shape != tensor.shape:
            raise UserError(
                f"{where} has {name} of shape {tuple(tensor.shape)}, where its config.json describes "
                f"{tuple(wanted.shape)}; {MEND}"
            )


def refuse_missing(skeleton: Skeleton, missing: Iterable[str], unexpected: Iterable[str], where: str) -> None:
    """Raise UserError if the checkpoint lacks tensors that the states depend on."""
    names = sorted(
        name for name in missing if name.startswith(skeleton.path) and not name.endswith((TRAINING_ONLY, COUNTER))
    )
    if names:
        left = sorted(unexpected)
        instead = f" It has {len(left)} others, {left[0]} first." if left else ""
        raise UserError(
            f"{where} lacks {len(names)} tensors of the encoder: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''}. They would be random.{instead} Get a complete checkpoint, "
            f"{MEND[:-1]}, or add --random-init for untrained weights."
        )


def refuse_left_over(
    skeleton: Skeleton, model: Any, names: list[str], tensors: Mapping[str, Tensor], where: str
) -> None:
    """Raise UserError if tensors of the encoder were not used: the configuration describes another model.

    What the model computes by itself (tables of positions) may be in older files, with the same numbers.

    names: of the tensors that were left over; transformers has given some of them their names of today.
    """
    own = {skeleton.name_of(name) for name in skeleton.of_the_encoder(tensors)}
    renamed = [name for name in names if skeleton.name_of(name) in own]
    computed = dict(model.named_buffers())
    left = [
        name
        for name in dict.fromkeys([*skeleton.of_the_encoder(names, tensors), *renamed])
        if not equal(computed.get(skeleton.name_of(name)), tensors.get(name))
    ]
    if left:
        raise UserError(
            f"{where} has {len(left)} tensors of the encoder that its config.json does not describe, {left[0]} first; "
            f"{MEND}"
        )


def equal(first: Tensor | None, second: Tensor | None) -> bool:
    """Return True if both are tensors with the same numbers up to rounding."""
    if first is None or second is None or first.shape != second.shape:
        return False
    return torch.allclose(first.double(), second.double(), rtol=1e-3, atol=1e-6)


def refuse_broken(encoder: Any, where: str) -> None:
    """Raise UserError if a weight is NaN or infinite."""
    broken = [name for name, tensor in encoder.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise UserError(
            f"{where} has NaN or infinite numbers in {len(broken)} tensors, {broken[0]} first; "
            "get an intact checkpoint."
        )
