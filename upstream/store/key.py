"""What tells one store from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from upstream.base import Upstream
from upstream.errors import MendableError
from upstream.store.codecs import CODECS

STORE_VERSION = 2  # of the layout that shards.py describes
REDUCTIONS = ("means", "frames")


@dataclass(frozen=True)
class StoreKey:
    """What stored states were made with; a store of one key never serves another.

    fingerprint: of the upstream: weights, configuration, waveform standardisation, extractor version.
    dtype: precision of the upstream's weights and states.
    num_layers, dim: L and D.
    reduction: "means" over each utterance's frames, or all "frames".
    codec: how the numbers lie on disk, one of CODECS; means are always float32.
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
        """The key of this upstream's states.

        codec: of frames, float16 where nothing is said; means are float32 whatever is said.

        Raises MendableError for a reduction or a codec that does not exist.
        """
        if reduction not in REDUCTIONS:
            raise MendableError(f"There is no reduction {reduction!r}; type one of {', '.join(REDUCTIONS)}.")
        if codec is not None and codec not in CODECS:
            raise MendableError(f"There is no codec {codec!r} for stored frames; type one of {', '.join(CODECS)}.")
        chosen = "float32" if reduction == "means" else codec or "float16"
        return cls(upstream.fingerprint, upstream.dtype_name, upstream.num_layers, upstream.dim, reduction, chosen)

    def folder_name(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]
