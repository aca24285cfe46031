"""Hidden states on disk: each utterance is encoded by a frozen upstream once.

A store is a folder of shards for one upstream in one precision, reduction and codec (`StoreKey`). An entry is found by
the digest of its audio. A store holds the mean over time of every layer, which is enough for a head that is affine up
to its mean pooling; the mean and the standard deviation; or all frames, in one of the `CODECS`.

Importing this package does not import torch; using one of its names does.
"""

from typing import TYPE_CHECKING

from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from upstream.store.codecs import CODECS, Codec, rounded
    from upstream.store.key import REDUCTIONS, StoreKey
    from upstream.store.shards import estimate_bytes
    from upstream.store.store import StateStore
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "CODECS": "upstream.store.codecs",
            "Codec": "upstream.store.codecs",
            "REDUCTIONS": "upstream.store.key",
            "StoreKey": "upstream.store.key",
            "estimate_bytes": "upstream.store.shards",
            "rounded": "upstream.store.codecs",
            "StateStore": "upstream.store.store",
        },
    )

__all__ = ["CODECS", "REDUCTIONS", "Codec", "StateStore", "StoreKey", "estimate_bytes", "rounded"]
