"""A transformers model without its numbers, by which a file is read: which of its tensors are the encoder's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.foreign import foreign_code
from upstream.huggingface.config import Configuration
from upstream.huggingface.library import transformers_library

AFTER_THE_ENCODER = "adapter."  # a module within transformers' encoders, whose output comes after the last block

SMALL = 1_000_000_000  # numbers that memory has room for, 4 GB in float32

# The two parts of a weight norm in older files, and their names today.
RENAMED = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}


@dataclass(frozen=True)
class Skeleton:
    """A model without numbers, to compare a file with before memory is taken.

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

    def wrapper(self, names: Iterable[str], where: str) -> str:
        """Return what training code put before the names of the whole model in a file: "module.", mostly nothing.

        Raises UserError for a file with several encoders, of a student and its teacher, say.
        """
        known = next((name for name in self.tensors if name.startswith(self.path) and "." in name), "")
        places = {name.removesuffix(known) for name in names if f".{name}".endswith(f".{known}")}
        wrappers = {place.removesuffix(self.prefix or "") for place in places}
        if len(wrappers) > 1:
            found = ", ".join(map(repr, sorted(wrappers)))
            raise UserError(
                f"{where} has {len(wrappers)} encoders, whose names begin with {found}; save the one that is meant: "
                "model.save_pretrained(directory)."
            )
        return wrappers.pop() if wrappers else ""


def skeleton_of(configuration: Configuration) -> Skeleton:
    """Return the names and shapes of the model of a configuration; raises UserError if it cannot be built."""
    with torch.device("meta"):
        model = model_from(configuration)
    encoder = encoder_of(model)
    path = next(name for name, module in model.named_modules() if module is encoder)
    prefix = f"{model.base_model_prefix}." if model.base_model_prefix else None
    return Skeleton(type(model), prefix, f"{path}." if path else "", model.state_dict())


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


def encoder_of(model: Any) -> Any:
    """Return the encoder of an encoder-decoder model, and any other model itself."""
    return model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model


# ---------------------------------------------------------------- checks before anything is loaded


def refuse_twice(skeleton: Skeleton, names: Iterable[str], where: str) -> None:
    """Raise UserError if two tensors of a file are for the same place in the encoder."""
    places = defaultdict(list)
    for name in names:
        places[skeleton.name_of(name)].append(name)
    for found in places.values():
        if len(found) > 1:
            raise UserError(
                f"{where} has the same weight twice, as {found[0]} and {found[1]}; remove the one that is out of date, "
                "or get the checkpoint as it was published."
            )


def refuse_other_shapes(skeleton: Skeleton, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise UserError if the shape of one of the encoder's tensors is not that of the model."""
    for name, tensor in tensors.items():
        wanted = skeleton.tensors.get(skeleton.name_of(name))
        if wanted is not None and wanted.shape != tensor.shape:
            raise UserError(
                f"{where} has {name} of shape {tuple(tensor.shape)}, where its config.json describes "
                f"{tuple(wanted.shape)}; put the config.json that belongs to the weights beside them."
            )


def refuse_much_larger(skeleton: Skeleton, tensors: Iterable[Tensor], where: str) -> None:
    """Raise UserError if the model is much larger than the file: what is missing would take memory first."""
    described = sum(tensor.numel() for tensor in skeleton.tensors.values())
    found = sum(tensor.numel() for tensor in tensors)
    if described > 2 * found + SMALL:
        raise UserError(
            f"{where} has {found:,} numbers, where its config.json describes {described:,}; "
            "put the config.json that belongs to the weights beside them."
        )
