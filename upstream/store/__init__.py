"""Hidden states on disk: each utterance goes through a frozen upstream once.

A store is a folder of shards for one upstream at one precision, one reduction and one codec (`StoreKey`); an entry
is found by the digest of its audio. It holds either the mean over time of every layer, which is all that a head needs
that is affine up to its mean pooling, or all frames, in one of the `CODECS`.
"""

from upstream.store.codecs import CODECS
from upstream.store.key import StoreKey
from upstream.store.shards import estimate_bytes
from upstream.store.store import StateStore

__all__ = ["CODECS", "StateStore", "StoreKey", "estimate_bytes"]
