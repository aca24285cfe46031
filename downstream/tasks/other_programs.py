"""Heads as other programs have them: those that s3prl learned, and the task models of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from downstream.tasks.head import Head


@dataclass(frozen=True)
class HeadOfS3prl:
    """A head as a checkpoint of s3prl has it.

    tensors: of its `Downstream`, buffers of bookkeeping excepted. model: `downstream_expert.modelrc` of its `Config`.
    num_layers: of the upstream. layer: the only one that it reads; None for the weighted sum.
    """

    tensors: Mapping[str, Tensor]
    model: Mapping[str, Any]
    num_layers: int
    layer: int | None


@dataclass(frozen=True)
class HeadHere:
    """A head of another program as a family has it.

    head: with its weights, those of the weighted sum excepted. overrides: of a recipe, by which such a head is built.
    num_outputs: how many names its outputs take. notes: sentences on what of it has no place here.
    """

    head: Head
    overrides: tuple[str, ...]
    num_outputs: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskModelHead:
    """A head as a task model of transformers has it.

    model: the class behind the encoder's name, "ForSequenceClassification".
    tensors: by their names there, without the layer weights.
    reads: the linear layer there that reads the sum of layers.
    config: fields of config.json that describe it.
    as_here: from what the model answers, (B, …), to what the head here computes of the same audio.
    unlike: sentences on what the model leaves out.
    """

    model: str
    tensors: Mapping[str, Tensor]
    reads: str
    config: Mapping[str, Any] = field(default_factory=dict)
    as_here: Callable[[Tensor], Tensor] = lambda answer: answer
    unlike: tuple[str, ...] = ()


def of_linear(stems: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return weights and biases of linear layers under other names; None unless these are all that there is.

    stems: name of each layer -> its name in the result.
    """
    wanted = {f"{stem}.{part}": f"{name}.{part}" for stem, name in stems.items() for part in ("weight", "bias")}
    return {name: tensors[stem] for stem, name in wanted.items()} if wanted.keys() == tensors.keys() else None
