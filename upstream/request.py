"""Arguments of a loader of upstreams: the row of the catalogue, and how to load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class NamedUpstream:
    """One row of the table.

    loader: "module:function", imported when the upstream is loaded; called as function(NamedUpstream, Request).
    configuration: name of the architecture's configuration, a constant that the loader knows.
    repository: Hugging Face repository of the weights; None where none are published.
    has_weights: False for an upstream without learned weights, to which --random-init does not apply.
    """

    name: str
    title: str
    loader: str
    configuration: str
    repository: str | None = None
    has_weights: bool = True


@dataclass(frozen=True)
class Request:
    """What to load an upstream with.

    typed: the name as the user typed it.
    revision: branch, tag or commit of the repository; None for the default branch.
    dtype: None for the fastest precision whose scores agree with float32's.
    random_seed: seed of untrained weights; None for trained weights.
    """

    typed: str
    revision: str | None
    device: torch.device
    dtype: torch.dtype | None
    random_seed: int | None

    @property
    def dtype_or_float32(self) -> torch.dtype:
        """The precision for an upstream whose scores were measured in float32 only."""
        import torch

        return self.dtype or torch.float32
