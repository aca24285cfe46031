"""The key of a store: everything that stored states depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from upstream.base import Upstream
from upstream.errors import UserError
from upstream.store.codecs import CODECS

STORE_VERSION = 2  # of the file format in shards.py
REDUCTIONS = ("means", "statistics", "frames")


@dataclass(frozen=True)
class StoreKey:
    """What stored states depend on; stores of different keys are never mixed.

    fingerprint: of the upstream: weights, configuration, waveform standardisation, extractor version.
    dtype: precision of the upstream's weights and states, such as "float32".
    num_layers, dim: L and D.
    reduction: "means" over each utterance's frames, "statistics" for means and standard deviations, or all "frames".
    codec: format of the stored numbers, one of CODECS; always "float32" unless they are frames.
    """

    fingerprint: str
    dtype: str
    num_layers: int
    dim: int
    reduction: str = "means"
    codec: str = "float32"
    version: int = STORE_VERSION

    @classmethod
    def of(cls, upstream: Upstream, reduction: str = "means", codec: str | None = None) -> StoreKey:
        """Return the key of this upstream's states.

        codec: of frames, by default float16; ignored for means and statistics.

        Raises UserError for an unknown reduction or codec.
        """
        if reduction not in REDUCTIONS:
            raise UserError(f"There is no reduction {reduction!r}; type one of {', '.join(REDUCTIONS)}.")
        if codec is not None and codec not in CODECS:
            raise UserError(f"There is no codec {codec!r} for stored frames; type one of {', '.join(CODECS)}.")
        chosen = codec or "float16" if reduction == "frames" else "float32"
        return cls(upstream.fingerprint, upstream.dtype_name, upstream.num_layers, upstream.dim, reduction, chosen)

    @property
    def rows(self) -> int | None:
        """Vectors of D numbers that each layer of an utterance has: 1 or 2; None for as many as it has frames."""
        return {"means": 1, "statistics": 2, "frames": None}[self.reduction]

    def folder_name(self) -> str:
        """Return the name of the store's folder: 24 hexadecimal digits of the key's SHA-256."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]
