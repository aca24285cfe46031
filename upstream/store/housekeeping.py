"""All stores below a folder: list them, verify them, choose what to remove."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from stat import S_ISREG

from upstream.errors import UserError
from upstream.store.key import StoreKey
from upstream.store.shards import SUFFIX, DamagedShardError, ShardIndex, altered_shards, discard, read_index
from upstream.store.store import CARD, read_card
from upstream.unfinished import leftovers, remove_leftovers

STORE_NAME = re.compile("[0-9a-f]{24}")  # StoreKey.folder_name; other folders are left alone
DEEPEST = 3  # folders below the store's own in which something is written: corpora, one corpus, its version
DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class StoreFolder:
    """A store on disk, described without loading its upstream.

    upstream: its name; "" if unknown. key: None for a store that this version cannot read.
    last_used: when it was last opened, seconds since 1970. nbytes: total size of its files.
    """

    path: Path
    upstream: str
    key: StoreKey | None
    last_used: float
    nbytes: int

    def describe(self) -> str:
        """Return a short description: upstream, reduction, codec."""
        if self.key is None:
            return f"{self.upstream or 'unknown upstream'} (of another version)"
        return f"{self.upstream or 'unknown upstream'}, {self.key.reduction}, {self.key.codec}"

    def shards(self) -> list[Path]:
        """Return the paths of its shards."""
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def indexes(self) -> Iterator[ShardIndex]:
        """Yield the indexes of its shards; unreadable ones are skipped."""
        if self.key is None:
            return
        for path in self.shards():
            with contextlib.suppress(DamagedShardError, FileNotFoundError):
                yield read_index(path, self.key)

    def utterances(self) -> int | None:
        """Return the number of its utterances; None if this version cannot read it."""
        return None if self.key is None else len({digest for index in self.indexes() for digest in index.digests})


@dataclass(frozen=True)
class DamagedShard:
    """A damaged shard; kept: why it could not be removed, or nothing."""

    path: Path
    store: StoreFolder
    kept: str


def survey(root: Path) -> list[StoreFolder]:
    """Return the stores below `root`, most recently used first."""
    folders = (
        [path for path in root.iterdir() if STORE_NAME.fullmatch(path.name) and path.is_dir()] if root.is_dir() else []
    )
    return sorted(map(read_folder, folders), key=lambda store: (-store.last_used, store.path))


def read_folder(folder: Path) -> StoreFolder:
    """Describe the store in `folder` from its card and the sizes of its files."""
    try:
        files = dict(with_stat(folder.iterdir()))
    except PermissionError:  # another user's
        files = {}
    stats, card = files.values(), folder / CARD
    used = files[card].st_mtime if card in files else max((s.st_mtime for s in stats), default=folder.stat().st_mtime)
    upstream, key = read_card(card)
    if key is not None and key.folder_name() != folder.name:
        key = None
    return StoreFolder(folder, upstream, key, used, sum(stat.st_size for stat in stats))


def verify(stores: Sequence[StoreFolder], progress: bool = False) -> list[DamagedShard]:
    """Read every shard of these stores, remove the damaged ones, and return them.

    For a store of another version, only the digests are compared with the shards' names.
    """
    owners = {path: store for store in stores for path in store.shards()}
    damaged = set(altered_shards(list(owners), progress))
    damaged |= {path for path, store in owners.items() if path not in damaged and is_foreign(path, store)}
    return [DamagedShard(path, owners[path], discard(path)) for path in sorted(damaged)]


def is_foreign(path: Path, store: StoreFolder) -> bool:
    """Return True for a shard of another store."""
    if store.key is None:
        return False
    try:
        read_index(path, store.key)
    except FileNotFoundError:
        return False
    except DamagedShardError:
        return True
    return False


def choose(
    stores: Sequence[StoreFolder],
    *,
    older_than: float | None = None,
    upstream: str | None = None,
    keep: float | None = None,
    everything: bool = False,
) -> list[StoreFolder]:
    """Return the stores to remove, least recently used first: those that meet all conditions, none without any.

    older_than: days since they were last used. upstream: its name.
    keep: total bytes of all stores to keep; no more are removed than necessary.
    everything: remove every store.

    Raises UserError if no store is of this upstream.
    """
    names = sorted({store.upstream for store in stores if store.upstream})
    if upstream is not None and upstream not in names:
        raise UserError(f"No store is of the upstream {upstream!r}. There are stores of: {', '.join(names) or 'none'}.")
    if older_than is None and upstream is None and keep is None and not everything:
        return []
    latest = time.time() - (older_than or 0.0) * DAY
    matching = [
        store
        for store in sorted(stores, key=lambda store: store.last_used)
        if (older_than is None or store.last_used < latest) and upstream in (None, store.upstream)
    ]
    if keep is None:
        return matching
    chosen = []
    remaining = sum(store.nbytes for store in stores)
    for store in matching:
        if remaining <= keep:
            break
        chosen.append(store)
        remaining -= store.nbytes
    return chosen


def unneeded(root: Path, kept: Iterable[StoreFolder], removed: Iterable[StoreFolder]) -> list[tuple[Path, int]]:
    """Return what nobody needs below `root`, with its bytes: leftovers of killed processes, redundant shards.

    kept: the stores whose redundant shards are meant. removed: those that are removed as a whole.
    """
    gone = {store.path for store in removed}
    unfinished = [path for depth in range(DEEPEST + 1) for path in leftovers(root, "*/" * depth)]
    paths = [*(path for path in unfinished if path.parent not in gone), *chain.from_iterable(map(redundant, kept))]
    return [(path, size_of(path)) for path in paths]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(stat.st_size for _, stat in with_stat([path, *path.rglob("*")]) if S_ISREG(stat.st_mode))


def with_stat(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files that still exist with their stat; a run may rename or remove some in the meantime."""
    for path in paths:
        with contextlib.suppress(OSError):
            yield path, path.stat()


def redundant(store: StoreFolder) -> list[Path]:
    """Return shards whose utterances are all in other shards too; two processes that fill one store leave such."""
    indexes = sorted(store.indexes(), key=lambda index: (len(index.digests), index.name))  # remove the smallest first
    copies = Counter(digest for index in indexes for digest in set(index.digests))
    found = []
    for index in indexes:
        if all(copies[digest] > 1 for digest in index.digests):
            copies.subtract(set(index.digests))
            found.append(store.path / index.name)
    return found


def remove(store: StoreFolder) -> None:
    """Remove a store: its files, and its folder if that is empty then."""
    remove_leftovers(store.path)
    for path in [*store.shards(), store.path / CARD]:  # the card last: it has the name
        path.unlink(missing_ok=True)
    if not any(store.path.iterdir()):
        store.path.rmdir()
