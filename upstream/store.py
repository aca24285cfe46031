"""Hidden states on disk: each utterance goes through a frozen upstream once.

What is kept here is the mean over time of every layer, (L, D) float32 an utterance, which is all that a head
needs that is affine up to its mean pooling. A store is a folder of shards for one upstream at one precision;
an entry is found by the digest of its audio. Shards are safetensors, named by the digest of their own bytes:
a shard that was torn or altered does not match its name, is set aside and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from upstream.base import Upstream
from upstream.errors import MendableError

STORE_VERSION = 1  # of the layout described above


@dataclass(frozen=True)
class StoreKey:
    """What stored states were made with; a store of one key never serves another.

    fingerprint: of the upstream: weights, configuration, waveform standardisation, extractor version.
    """

    fingerprint: str
    dtype: str
    num_layers: int
    dim: int
    reduction: str = "mean"
    version: int = STORE_VERSION

    @classmethod
    def of(cls, upstream: Upstream) -> StoreKey:
        return cls(upstream.fingerprint, upstream.dtype_name, upstream.num_layers, upstream.dim)

    def folder_name(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]


class MeanStore:
    """The stored means of one upstream.

    damaged: names of shards that were found torn, altered or foreign when the store was opened, and removed.
    """

    def __init__(self, root: Path, key: StoreKey) -> None:
        self.key = key
        self.folder = root / key.folder_name()
        self.damaged: list[str] = []
        self._entries: dict[str, Tensor] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MendableError(
                f"Cannot make the store {self.folder}: {error.strerror}. Choose another folder with --store."
            ) from error
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read_shard(path)

    def __contains__(self, digest: str) -> bool:
        return digest in self._entries

    def get(self, digests: Sequence[str]) -> Tensor:
        """Means of the utterances with these audio digests, (L, U, D) float32."""
        return torch.stack([self._entries[digest] for digest in digests], dim=1)

    def add(self, digests: Sequence[str], means: Tensor) -> None:
        """Write one shard: means (U, L, D) of the utterances with these audio digests.

        The shard appears whole or not at all, whatever interrupts the writing; two processes may add to one
        store at once. Raises MendableError where the disk is full or not writable.
        """
        assert len(digests) == len(means), f"{len(digests)} digests for {len(means)} means"
        header = {"key": asdict(self.key), "utterances": list(digests)}
        # One entry: safetensors writes several in an order that differs from process to process.
        content = save({"means": means.float().contiguous()}, metadata={"header": json.dumps(header, sort_keys=True)})
        write_atomically(self.folder / f"{digest_of(content)}.safetensors", content)
        self._entries.update(zip(digests, means.float(), strict=True))

    def _read_shard(self, path: Path) -> None:
        if digest_of(path.read_bytes()) != path.stem:
            self._set_aside(path)
            return
        with safe_open(path, framework="pt") as shard:
            header = json.loads((shard.metadata() or {}).get("header", "{}"))
            means = shard.get_tensor("means")
        if header.get("key") != asdict(self.key) or len(header["utterances"]) != len(means):
            self._set_aside(path)
            return
        self._entries.update(zip(header["utterances"], means, strict=True))

    def _set_aside(self, path: Path) -> None:
        self.damaged.append(path.name)
        with contextlib.suppress(PermissionError):  # in a store that may only be read it stays, and is not believed
            path.unlink(missing_ok=True)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds all of it or is not there, even if the machine stops.

    Raises MendableError where it cannot be written.
    """
    temporary = path.parent / f".writing-{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise MendableError(
            f"Cannot write {path}: {error.strerror}. Free some space or choose another folder (--store, --results)."
        ) from error
