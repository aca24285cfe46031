"""The states of one upstream on disk: found by digest, added to by any number of processes, read without loading."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from upstream.errors import MendableError
from upstream.files import is_for_reading_only, write_atomically
from upstream.store.codecs import BY_NAME
from upstream.store.key import StoreKey
from upstream.store.shards import (
    SUFFIX,
    DamagedShardError,
    OpenShard,
    ShardIndex,
    open_shard,
    parts,
    read_index,
    unsound,
    write_shard,
)

CARD = "store.json"

# A mapped page counts as the process's memory until the kernel takes it back, and a process may hold only so many
# mappings. Opening a shard again costs 0.05 ms, reading an utterance of it some milliseconds: few need stay open.
OPEN_SHARDS = 16


class Place(NamedTuple):
    """Where an utterance lies: in which shard, as the how-manieth, behind how many frames, and its own frames."""

    shard: str
    position: int
    start: int
    frames: int


def places_in(shard: ShardIndex) -> Iterator[tuple[str, Place]]:
    """Each utterance of a shard, and where it lies."""
    starts = accumulate(shard.frames[:-1], initial=0)
    for position, (digest, start, frames) in enumerate(zip(shard.digests, starts, shard.frames, strict=True)):
        yield digest, Place(shard.name, position, start, frames)


class StateStore:
    """The stored hidden states of one key.

    folder: where the shards lie. key: what they were made with.
    damaged: names of shards that were found torn, altered or foreign, and set aside: removed, or, in a store that may
        only be read, not believed.

    Any number of processes may add to one folder and read it at once, and any number of threads may use one object.
    """

    def __init__(self, root: Path, key: StoreKey, upstream_name: str = "") -> None:
        """Open the store of this key below `root`, or begin it. Reads the heads of the shards, not their states.

        upstream_name: for those who look at the folder.

        Raises MendableError where the folder can neither be read nor made.
        """
        self.key = key
        self.folder = root / key.folder_name()
        self.damaged: list[str] = []
        self._codec = BY_NAME[key.codec]
        self._shards: dict[str, ShardIndex] = {}
        self._places: dict[str, Place] = {}
        self._checked: set[str] = set()
        self._disbelieved: set[str] = set()  # damaged, and could not be removed
        self._open: OrderedDict[str, OpenShard] = OrderedDict()
        self._lock = threading.RLock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MendableError(
                f"Cannot make the store {self.folder}: {error.strerror}. Choose another folder with --store."
            ) from error
        self._sign(upstream_name)
        self.refresh()

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def nbytes(self) -> int:
        """Bytes of all shards on disk."""
        with self._lock:
            return sum(shard.nbytes for shard in self._shards.values())

    def refresh(self) -> None:
        """Notice the shards that other processes have added or removed since."""
        with self._lock:
            present = {path.name for path in self.folder.glob(f"*{SUFFIX}")}
            self._forget(self._shards.keys() - present)
            for name in sorted(present - self._shards.keys() - self._disbelieved):
                try:
                    self._take_in(read_index(self.folder / name, self.key))
                except FileNotFoundError:
                    continue  # removed by another process since the folder was listed
                except DamagedShardError:
                    self._set_aside(name)

    def check(self, digests: Collection[str], progress: bool = False) -> None:
        """Read the shards that hold any of these utterances whole, and compare their digests with their names.

        A shard that does not match is set aside, and its utterances are no longer in the store unless another shard
        has them. A shard is read once in the life of this object.
        """
        wanted = set(digests)
        with self._lock:
            unchecked = [
                name
                for name, shard in sorted(self._shards.items())
                if name not in self._checked and not wanted.isdisjoint(shard.digests)
            ]
        found = [path.name for path in unsound([self.folder / name for name in unchecked], progress)]
        with self._lock:
            for name in found:
                self._set_aside(name)
            self._forget(found)
            self._checked.update(set(unchecked) - set(found))

    def add(self, digests: Sequence[str], states: Sequence[Tensor]) -> None:
        """Write one shard of these utterances.

        states: (L, D) each for means, (L, T, D) each for frames, of any float dtype, on the CPU.

        The shard appears whole or not at all, whatever interrupts the writing. Raises MendableError where the disk is
        full or not writable, and for states that the codec cannot hold.
        """
        assert len(digests) == len(states), f"{len(digests)} digests for {len(states)} states"
        if not digests:
            return
        if self.key.reduction == "means":
            states = [state[:, None] for state in states]
        shard, content = write_shard(self.key, digests, states)
        write_atomically(self.folder / shard.name, content)
        with self._lock:
            self._take_in(shard)
            self._checked.add(shard.name)  # its name was made from the bytes just written

    def means(self, digests: Sequence[str]) -> Tensor:
        """Means of the utterances with these audio digests, (L, U, D) float32.

        Raises KeyError for one that is not in the store; MendableError where a shard went away meanwhile.
        """
        assert self.key.reduction == "means", "this store holds frames"
        means = torch.empty(self.key.num_layers, len(digests), self.key.dim)
        for row in sorted(range(len(digests)), key=lambda row: self._places[digests[row]]):  # shard by shard
            codes, _ = self._stored(digests[row], slice(None))
            means[:, row] = codes[:, 0]
        return means

    def frames(self, digest: str, layer: int | None = None) -> Tensor:
        """All frames of the utterance with this audio digest, (L, T, D) float32; of one layer alone, (1, T, D).

        layer: a negative one counts from the last. May be called from several threads at once.
        Raises KeyError for an utterance, IndexError for a layer that is not in the store; MendableError where a shard
        went away meanwhile.
        """
        assert self.key.reduction == "frames", "this store holds means"
        if layer is None:
            layers = slice(None)
        else:
            index = range(self.key.num_layers)[layer]
            layers = slice(index, index + 1)
        return self._codec.decode(*self._stored(digest, layers))

    def _stored(self, digest: str, layers: slice) -> tuple[Tensor, Tensor]:
        """Codes (L', T, D) and scales of an utterance, memory-mapped."""
        place, shard = self._find(digest)
        return parts(shard, self.key, self._codec, place.start, place.frames, place.position, layers)

    def _find(self, digest: str) -> tuple[Place, OpenShard]:
        with self._lock:
            place = self._places[digest]
            try:
                return place, self._opened(place.shard)
            except (FileNotFoundError, SafetensorError) as error:
                self._forget([place.shard])
                self.refresh()
                if digest in self._places and self._places[digest].shard != place.shard:  # another shard has it too
                    return self._find(digest)
                raise MendableError(
                    f"The shard {place.shard} was removed from {self.folder} while it was being read; "
                    "run the same command again, and what it held is made again."
                ) from error

    def _opened(self, name: str) -> OpenShard:
        shard = self._open.pop(name, None) or open_shard(self.folder / name)
        self._open[name] = shard  # the most recently used comes last
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)  # unmapped once no thread reads it any more
        return shard

    def _take_in(self, shard: ShardIndex) -> None:
        self._shards[shard.name] = shard
        self._places.update(places_in(shard))

    def _forget(self, names: Collection[str]) -> None:
        """Know nothing more of these shards; what other shards hold too stays known."""
        if not names:
            return
        self._shards = {name: shard for name, shard in self._shards.items() if name not in names}
        # Put in place at once: other threads look here without the lock.
        self._places = dict(chain.from_iterable(places_in(shard) for shard in self._shards.values()))
        for name in names:
            self._open.pop(name, None)
            self._checked.discard(name)

    def _set_aside(self, name: str) -> None:
        self.damaged.append(name)
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            if not is_for_reading_only(error):
                raise
            self._disbelieved.add(name)

    def _sign(self, upstream_name: str) -> None:
        """Leave a card that says what the folder holds, once, and mark it as used now."""
        card = self.folder / CARD
        if not card.exists():
            made = datetime.now(UTC).isoformat(timespec="seconds")
            text = json.dumps({"upstream": upstream_name, "key": asdict(self.key), "made": made}, indent=2)
            try:
                write_atomically(card, text.encode() + b"\n")
            except MendableError as error:
                if not is_for_reading_only(error.__cause__):
                    raise
        with contextlib.suppress(OSError):  # when it was last used decides what is pruned first, and nothing else
            os.utime(card)
