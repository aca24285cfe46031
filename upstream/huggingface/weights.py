"""The weights of a transformers encoder: all of them from the checkpoint, in float32, under names that are checked.

Whatever config.json says of precision, weights are loaded in float32, in which those of all files are exact. A tensor
of the encoder that is missing, left over, of another shape or of numbers that are no weights is an error: then
config.json describes another model, and the states would be random in part. Only tensors beside the encoder may be
left over: those of heads, of a decoder, and of pre-training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.base import require_drawable
from upstream.errors import UserError
from upstream.foreign import foreign_code
from upstream.huggingface.config import Configuration
from upstream.huggingface.files import ModelFiles
from upstream.huggingface.library import quiet_transformers
from upstream.huggingface.skeleton import (
    Skeleton,
    encoder_of,
    model_from,
    refuse_much_larger,
    refuse_other_shapes,
    refuse_twice,
    skeleton_of,
)
from upstream.named_tensors import named_tensors, refuse_unmerged, require_floats
from upstream.text import counted
from upstream.weight_files import read_weights, weight_files

# Used in training only. Checkpoints may lack it, and then it is random, so it is not in the fingerprint.
TRAINING_ONLY = "masked_spec_embed"
COUNTER = "num_batches_tracked"  # of batch norms, used in training only, too

MEND = "put the config.json that belongs to the weights beside them"


@dataclass(frozen=True)
class Trained:
    """An encoder with the weights of a checkpoint, in float32.

    files: the weights are from. beside: names of the tensors in them that are not the encoder's.
    """

    encoder: Any
    files: tuple[Path, ...]
    beside: tuple[str, ...]


def trained_encoder(files: ModelFiles, configuration: Configuration) -> Trained:
    """Return the encoder with the checkpoint's weights.

    Raises UserError for files that cannot be read, and for tensors of the encoder that are missing, unknown, named
    twice, of another shape, not finite or no plain floats.
    """
    where = files.origin
    read = weight_files(files.weights or files.folder)
    tensors = {name: tensor for file in read for name, tensor in named_tensors(read_weights(file)).items()}
    refuse_unmerged(tensors, where)
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        skeleton = skeleton_of(configuration)
        wrapper = skeleton.wrapper(tensors, where)
        outside = [name for name in tensors if not name.startswith(wrapper)]
        tensors = {name.removeprefix(wrapper): tensors[name] for name in tensors if name.startswith(wrapper)}
        own = skeleton.of_the_encoder(tensors)
        refuse_twice(skeleton, own, where)
        require_floats({name: tensors[name] for name in own if not name.endswith(COUNTER)}, where)
        refuse_other_shapes(skeleton, {name: tensors[name] for name in own}, where)
        refuse_much_larger(skeleton, tensors.values(), where)
        # A head's tensor may be called as one of the encoder's, without the prefix.
        places = {skeleton.name_of(name) for name in own}
        homonyms = {name for name in tensors if skeleton.name_of(name) in places}.difference(own)
        usable = {name: tensor for name, tensor in tensors.items() if name not in homonyms}
        model, report = loaded(usable, skeleton, configuration, where)
    encoder = encoder_of(model)
    left = sorted(name for name in report["unexpected_keys"] if not name.endswith(TRAINING_ONLY))
    other_shapes = [name for name, *_ in report["mismatched_keys"]]
    refuse_missing(skeleton, [*report["missing_keys"], *other_shapes], left, where)
    refuse_broken(encoder, where)
    refuse_left_over(skeleton, model, left, tensors, where)
    return Trained(encoder, tuple(read), tuple(sorted([*left, *homonyms, *outside])))


def loaded(
    tensors: Mapping[str, Tensor], skeleton: Skeleton, configuration: Configuration, where: str
) -> tuple[Any, Mapping[str, Any]]:
    """Return the model with these tensors, and transformers' report on missing and unexpected ones."""
    with foreign_code(
        f"Loading the weights of {where} as {configuration.transformers.model_type} of transformers",
        f"If the weights are intact, {MEND}.",
    ):
        model, report = skeleton.kind.from_pretrained(
            None,
            config=configuration.transformers,
            state_dict=dict(tensors),
            dtype=torch.float32,
            attn_implementation=configuration.attention,
            ignore_mismatched_sizes=True,  # a decoder's; the encoder's are checked
            output_loading_info=True,
        )
        return model, report


def untrained_encoder(configuration: Configuration, seed: int) -> Any:
    """Return the encoder with float32 weights drawn from `seed`; the global generator is restored.

    Raises UserError for a configuration that cannot be built, or with more parameters than are drawn.
    """
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        parameters = sum(tensor.numel() for tensor in skeleton_of(configuration).tensors.values())
        require_drawable(parameters, f"The configuration of this {configuration.transformers.model_type}")
        torch.default_generator.manual_seed(seed)
        return encoder_of(model_from(configuration))


# ---------------------------------------------------------------- checks of what was loaded


def refuse_missing(skeleton: Skeleton, missing: Iterable[str], unexpected: Iterable[str], where: str) -> None:
    """Raise UserError if the checkpoint lacks tensors that the states depend on."""
    names = sorted(
        name for name in missing if name.startswith(skeleton.path) and not name.endswith((TRAINING_ONLY, COUNTER))
    )
    if names:
        left = sorted(unexpected)
        instead = f" It has {counted(len(left), 'other')}, {left[0]} first." if left else ""
        raise UserError(
            f"{where} lacks {counted(len(names), 'tensor')} of the encoder: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''}. They would be random.{instead} Get a complete checkpoint, "
            f"{MEND}, or add --random-init for untrained weights."
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
            f"{where} has {counted(len(left), 'tensor')} of the encoder that its config.json does not describe, "
            f"{left[0]} first; {MEND}."
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
            f"{where} has NaN or infinite numbers in {counted(len(broken), 'tensor')}, {broken[0]} first; "
            "get an intact checkpoint."
        )
