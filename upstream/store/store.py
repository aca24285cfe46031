"""The states of one upstream on disk: found by digest, written by any number of processes, memory-mapped."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from upstream.errors import UserError
from upstream.files import is_read_only, write_atomically
from upstream.json_file import read_json_object
from upstream.store.codecs import BY_NAME, CODECS
from upstream.store.key import REDUCTIONS, STORE_VERSION, StoreKey
from upstream.store.shards import (
    SUFFIX,
    DamagedShardError,
    OpenShard,
    ShardIndex,
    altered_shards,
    discard,
    open_shard,
    read_index,
    views,
    write_shard,
)
from upstream.text import printable
from upstream.unfinished import remove_leftovers

CARD = "store.json"

# Mapped pages count as the process's memory until the kernel reclaims them, and the number of mappings of a process is
# limited. Reopening a shard costs 0.05 ms, reading an utterance some milliseconds, so few need to stay open.
OPEN_SHARDS = 16


def read_card(card: Path) -> tuple[str, StoreKey | None]:
    """Return the upstream's name, and the key if this version can read it; of a card that is none, neither."""
    try:
        content = read_json_object(card)
        upstream, key = str(content["upstream"]), StoreKey(**content["key"])
    except (UserError, KeyError, TypeError):
        return "", None
    is_known = key.version == STORE_VERSION and key.codec in CODECS and key.reduction in REDUCTIONS
    return upstream, key if is_known else None


class Place(NamedTuple):
    """The place of an utterance: shard, index in the shard, frames before it, frames of it."""

    shard: str
    position: int
    start: int
    frames: int


def places_in(shard: ShardIndex) -> Iterator[tuple[str, Place]]:
    """Yield the digest and the place of each utterance of a shard."""
    starts = accumulate(shard.frames[:-1], initial=0)
    for position, (digest, start, frames) in enumerate(zip(shard.digests, starts, shard.frames, strict=True)):
        yield digest, Place(shard.name, position, start, frames)


class StateStore:
    """The stored hidden states of one key.

    folder: the folder of the shards. key: what their states depend on.
    damaged: names of shards that were torn, altered or of another store, or cannot be read. They were removed or,
        where that is not possible, are ignored.

    Any number of processes may read and write one folder at once, and any number of threads may share one object.

    store = StateStore(Path("states"), StoreKey.of(wavlm))
    store.add([digest], [states.utterance(0).float().mean(dim=1)])   # (L, D)
    store.means([digest])                                            # (L, 1, D)
    """

    def __init__(self, root: Path, key: StoreKey, upstream_name: str = "") -> None:
        """Open or create the store of this key below `root`. Reads the headers of the shards, not their states.

        upstream_name: written to the store's card, for `wavprobe store list`.

        Raises UserError if the folder can neither be read nor created.
        """
        self.key = key
        self.folder = root / key.folder_name()
        self.damaged: list[str] = []
        self._codec = BY_NAME[key.codec]
        self._shards: dict[str, ShardIndex] = {}
        self._places: dict[str, Place] = {}
        self._checked: set[str] = set()
        self._ignored: set[str] = set()  # damaged, but could not be removed
        self._open: OrderedDict[str, OpenShard] = OrderedDict()
        self._lock = threading.RLock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot create the store {self.folder}: {error.strerror}. Choose another folder with --store."
            ) from error
        remove_leftovers(self.folder)
        self._update_card(upstream_name)
        self.refresh()

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def __len__(self) -> int:
        return len(self._places)

    def beside(self, reduction: str) -> StateStore | None:
        """Return the store of another reduction of the same upstream's states, as float32; None where there is none."""
        key = replace(self.key, reduction=reduction, codec="float32")
        there = (self.folder.parent / key.folder_name()).is_dir()
        return StateStore(self.folder.parent, key) if there else None

    @property
    def nbytes(self) -> int:
        """Total size of all shards on disk, in bytes."""
        with self._lock:
            return sum(shard.nbytes for shard in self._shards.values())

    def refresh(self) -> None:
        """Update the index with shards that other processes have added or removed."""
        with self._lock:
            present = {path.name for path in self.folder.glob(f"*{SUFFIX}")}
            self._forget(self._shards.keys() - present)
            for name in sorted(present - self._shards.keys() - self._ignored):
                try:
                    self._add_to_index(read_index(self.folder / name, self.key))
                except FileNotFoundError:
                    continue  # removed by another process since the folder was listed
                except DamagedShardError:
                    self._discard(name)

    def check(self, digests: Collection[str], progress: bool = False) -> None:
        """Verify the shards that hold any of these utterances: read them and compare their digests with their names.

        A damaged shard is discarded; its utterances leave the store unless another shard has them too. Each shard is
        read once in the life of this object.
        """
        wanted = set(digests)
        with self._lock:
            unchecked = [
                name
                for name, shard in sorted(self._shards.items())
                if name not in self._checked and not wanted.isdisjoint(shard.digests)
            ]
        found = [path.name for path in altered_shards([self.folder / name for name in unchecked], progress)]
        with self._lock:
            for name in found:
                self._discard(name)
            self._forget(found)
            self._checked.update(set(unchecked) - set(found))

    def add(self, digests: Sequence[str], states: Sequence[Tensor]) -> None:
        """Write one shard of these utterances.

        digests: of each utterance's audio.
        states: (L, D) each for means, (L, 2 D) for statistics, (L, T, D) for frames, of any float dtype, on the CPU.

        The write is atomic. Raises UserError if the disk is full or not writable, and for states out of the codec's
        range.
        """
        assert len(digests) == len(states), f"{len(digests)} digests for {len(states)} states"
        if not digests:
            return
        if self.key.rows is not None:
            states = [state.reshape(self.key.num_layers, self.key.rows, self.key.dim) for state in states]
        shard, content = write_shard(self.key, digests, states)
        write_atomically(self.folder / shard.name, content)
        with self._lock:
            self._add_to_index(shard)
            self._checked.add(shard.name)  # its name is the digest of the bytes just written

    def means(self, digests: Sequence[str]) -> Tensor:
        """Return the means of the utterances with these audio digests, (L, U, D) float32.

        Raises KeyError for a digest that is not in the store; UserError if a shard was removed in the meantime.
        """
        assert self.key.reduction == "means", f"this store holds {self.key.reduction}"
        return self.pooled(digests)

    def statistics(self, digests: Sequence[str]) -> Tensor:
        """Return the means and standard deviations of these utterances, (L, U, 2 D) float32; errors as for `means`."""
        assert self.key.reduction == "statistics", f"this store holds {self.key.reduction}"
        return self.pooled(digests)

    def pooled(self, digests: Sequence[str]) -> Tensor:
        """Return what this store holds of these utterances, means or statistics; errors as for `means`."""
        assert self.key.rows is not None, "this store holds frames"
        pooled = torch.empty(self.key.num_layers, len(digests), self.key.rows * self.key.dim)
        for row in sorted(range(len(digests)), key=lambda row: self._places[digests[row]]):  # shard by shard
            codes, _ = self._stored(digests[row], slice(None))
            pooled[:, row] = codes.flatten(1)
        return pooled

    def frames(self, digest: str, layer: int | None = None) -> Tensor:
        """Return the frames of the utterance with this audio digest, (L, T, D) float32; of one layer, (1, T, D).

        layer: None for all; negative numbers count from the last. Thread-safe.

        Raises KeyError for a digest and IndexError for a layer that is not in the store; UserError if a shard was
        removed in the meantime.
        """
        assert self.key.reduction == "frames", f"this store holds {self.key.reduction}"
        if layer is None:
            layers = slice(None)
        else:
            index = range(self.key.num_layers)[layer]
            layers = slice(index, index + 1)
        return self._codec.decode(*self._stored(digest, layers))

    def _stored(self, digest: str, layers: slice) -> tuple[Tensor, Tensor]:
        """Return codes (L', T, D) and scales of an utterance, memory-mapped."""
        place, shard = self._find(digest)
        return views(shard, self.key, self._codec, place.start, place.frames, place.position, layers)

    def _find(self, digest: str) -> tuple[Place, OpenShard]:
        with self._lock:
            place = self._places[digest]
            try:
                return place, self._opened(place.shard)
            except (OSError, SafetensorError) as error:
                self._forget([place.shard])
                self.refresh()
                if digest in self._places and self._places[digest].shard != place.shard:  # another shard has it too
                    return self._find(digest)
                raise UserError(
                    f"The shard {place.shard} was removed from {self.folder} while it was being read; "
                    "run the same command again to recompute it."
                ) from error

    def _opened(self, name: str) -> OpenShard:
        shard = self._open.pop(name, None) or open_shard(self.folder / name)
        self._open[name] = shard  # the most recently used is last
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)  # unmapped when no thread reads it any more
        return shard

    def _add_to_index(self, shard: ShardIndex) -> None:
        self._shards[shard.name] = shard
        self._places.update(places_in(shard))

    def _forget(self, names: Collection[str]) -> None:
        """Remove these shards from the index; utterances that other shards hold too stay in it."""
        if not names:
            return
        self._shards = {name: shard for name, shard in self._shards.items() if name not in names}
        # Replaced in one step: other threads read it without the lock.
        self._places = dict(chain.from_iterable(places_in(shard) for shard in self._shards.values()))
        for name in names:
            self._open.pop(name, None)
            self._checked.discard(name)

    def _discard(self, name: str) -> None:
        """Remove a damaged shard; where that is not possible, ignore it from now on."""
        self.damaged.append(name)
        if discard(self.folder / name):
            self._ignored.add(name)

    def _update_card(self, upstream_name: str) -> None:
        """Write the card that describes the folder, if it has no right one, and set its time of last use."""
        card = self.folder / CARD
        if read_card(card)[1] != self.key:
            made = datetime.now(UTC).isoformat(timespec="seconds")
            content = {"upstream": printable(upstream_name), "key": asdict(self.key), "made": made}
            text = json.dumps(content, indent=2)
            try:
                write_atomically(card, text.encode() + b"\n")
            except UserError as error:
                if not is_read_only(error.__cause__):
                    raise
        with contextlib.suppress(OSError):  # the time of last use matters for pruning only
            os.utime(card)
