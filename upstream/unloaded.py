"""An upstream of which only the sizes are known, from the table of names: to estimate what its states take."""

from __future__ import annotations

from torch import Tensor

from upstream.base import HiddenStates, Provenance, Upstream
from upstream.request import NamedUpstream


class UnloadedUpstream(Upstream):
    """The sizes of an upstream without its weights; it cannot encode."""

    def __init__(self, row: NamedUpstream) -> None:
        self.name, self.num_layers, self.dim, self.stride = row.name, row.layers, row.width, row.stride
        self.fingerprint = ""
        self.provenance = Provenance(row.repository or row.name, "sizes without weights")

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        """Raise NotImplementedError."""
        raise NotImplementedError(f"{self.name} was not loaded, only its sizes.")
