"""Tensors by their names, as weight files of all formats hold them: collected, compared, and checked to be weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.text import counted

Tensors = dict[str, Tensor]

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
LORA = re.compile(r"(?:^|\.)lora_\w+|\.base_layer\.")  # names of its tensors


def named_tensors(content: Mapping[Any, Any]) -> Tensors:
    """Return all tensors in nested dictionaries, under their keys joined by dots; everything else is left out."""
    tensors: Tensors = {}
    seen: set[int] = set()  # a dictionary can contain itself
    rest: list[tuple[str, Mapping[Any, Any]]] = [("", content)]
    while rest:
        path, entries = rest.pop()
        seen.add(id(entries))
        for key, value in entries.items():
            if isinstance(value, Tensor):
                add(tensors, f"{path}{key}", value)
            elif isinstance(value, Mapping) and id(value) not in seen:
                rest.append((f"{path}{key}.", value))
    return tensors


def add(tensors: Tensors, name: str, tensor: Tensor) -> None:
    """Add a tensor to others; raises UserError if there is another one of that name, in whatever spelling."""
    if name in tensors and not same(tensors[name], tensor):
        raise UserError(
            f"The file has two different tensors for {name}, perhaps in two spellings (weight_g and weight_v, "
            "parametrizations); remove the one that is out of date and save it again."
        )
    tensors[name] = tensor


def same(one: Tensor, other: Tensor) -> bool:
    """Return True for tensors that are equal in type, shape and every number."""
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


def refuse_unmerged(names: Iterable[str], where: str) -> None:
    """Raise UserError for weights that a LoRA adapter is not merged into; names: of tensors. where: their file."""
    found = [name for name in names if LORA.search(name)]
    if found:
        raise UserError(
            f"{where} has LoRA weights that are not merged into the encoder, {found[0]} first of {len(found)}. Merge "
            "them and save the model: model.merge_and_unload().save_pretrained(directory)."
        )


def require_floats(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise UserError unless all tensors are dense numbers in a floating-point format that is read here.

    Looks at no number: sparse tensors and views of little memory would first take a lot more.

    tensors: of an encoder; tensors of no use, such as counters of a head, are best left out. where: their file.
    """
    problems = [f"{name} is {problem}" for name, tensor in tensors.items() if (problem := _problem_of(tensor))]
    if problems:
        which = counted(len(problems), "tensor that is no plain weight", "tensors that are no plain weights")
        raise UserError(
            f"{where} has {which}: {', '.join(problems[:3])}"
            f"{' …' if len(problems) > 3 else ''}. Expected dense float32, float16, bfloat16 or float64; load the "
            "model where it was made, turn the weights back into these (dequantise them) and save it again."
        )


def _problem_of(tensor: Tensor) -> str | None:
    """Return what keeps a tensor from being used as a weight, None for a dense tensor of floats."""
    if tensor.is_meta:
        return "without numbers (on the meta device)"
    if tensor.is_quantized:
        return f"quantised ({_name_of(tensor.dtype)})"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.dtype not in FLOATS:
        return _name_of(tensor.dtype)
    held = tensor.untyped_storage().nbytes() // tensor.itemsize
    if tensor.numel() > held:
        return f"a view of {held:,} numbers as {tensor.numel():,}"
    return None


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
