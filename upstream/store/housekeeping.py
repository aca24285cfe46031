"""The stores of a folder as a whole: what there is, what is damaged, what may go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from upstream.errors import MendableError
from upstream.files import UNFINISHED, is_for_reading_only
from upstream.store.codecs import CODECS
from upstream.store.key import REDUCTIONS, STORE_VERSION, StoreKey
from upstream.store.shards import SUFFIX, DamagedShardError, ShardIndex, read_index, unsound
from upstream.store.store import CARD

STORE_NAME = re.compile("[0-9a-f]{24}")  # StoreKey.folder_name; whatever else lies there is not ours to touch
ABANDONED_AFTER = 3600.0  # seconds; writing a shard takes a few
DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class StoreFolder:
    """A store as it lies on disk, for whoever may never load its upstream.

    upstream: its name; "" where none was left. key: None for a store that this version cannot read.
    last_used: when it was last opened, seconds since 1970. nbytes: all its files.
    """

    path: Path
    upstream: str
    key: StoreKey | None
    last_used: float
    nbytes: int

    def describe(self) -> str:
        """A few words that tell this store from others."""
        if self.key is None:
            return f"{self.upstream or 'unknown upstream'} (of another version)"
        return f"{self.upstream or 'unknown upstream'}, {self.key.reduction}, {self.key.codec}"

    def shards(self) -> list[Path]:
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def unfinished(self) -> list[Path]:
        """Files that are being written, or were when their process ended."""
        return sorted(self.path.glob(f"{UNFINISHED}*"))

    def indexes(self) -> Iterator[ShardIndex]:
        """The indexes of its shards; what cannot be read is passed over."""
        if self.key is None:
            return
        for path in self.shards():
            with contextlib.suppress(DamagedShardError, FileNotFoundError):
                yield read_index(path, self.key)

    def utterances(self) -> int | None:
        """How many utterances it holds; None where this version cannot read it."""
        return None if self.key is None else len({digest for index in self.indexes() for digest in index.digests})


@dataclass(frozen=True)
class DamagedShard:
    """A shard that was found damaged; removed: whether it could be."""

    path: Path
    store: StoreFolder
    removed: bool


def survey(root: Path) -> list[StoreFolder]:
    """The stores below `root`, most recently used first."""
    folders = (
        [path for path in root.iterdir() if STORE_NAME.fullmatch(path.name) and path.is_dir()] if root.is_dir() else []
    )
    return sorted(map(look_at, folders), key=lambda store: (-store.last_used, store.path))


def look_at(folder: Path) -> StoreFolder:
    """What a store's folder says of itself."""
    files = dict(present(folder.iterdir()))
    states, card = files.values(), folder / CARD
    used = files[card].st_mtime if card in files else max((s.st_mtime for s in states), default=folder.stat().st_mtime)
    upstream, key = read_card(card)
    if key is not None and key.folder_name() != folder.name:
        key = None
    return StoreFolder(folder, upstream, key, used, sum(state.st_size for state in states))


def read_card(card: Path) -> tuple[str, StoreKey | None]:
    """The upstream's name, and the key if it is one of this version."""
    try:
        content = json.loads(card.read_text())
        upstream, key = str(content["upstream"]), StoreKey(**content["key"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return "", None
    is_ours = key.version == STORE_VERSION and key.codec in CODECS and key.reduction in REDUCTIONS
    return upstream, key if is_ours else None


def verify(stores: Sequence[StoreFolder], progress: bool = False) -> list[DamagedShard]:
    """Read every shard of these stores whole, remove those that are damaged, and name them.

    Of a store of another version only the bytes are compared with the shards' names.
    """
    owners = {path: store for store in stores for path in store.shards()}
    damaged = set(unsound(list(owners), progress))
    damaged |= {path for path, store in owners.items() if path not in damaged and is_foreign(path, store)}
    return [DamagedShard(path, owners[path], removed(path)) for path in sorted(damaged)]


def is_foreign(path: Path, store: StoreFolder) -> bool:
    """Whether a shard does not belong to the store it lies in."""
    if store.key is None:
        return False
    try:
        read_index(path, store.key)
    except FileNotFoundError:
        return False
    except DamagedShardError:
        return True
    return False


def removed(path: Path) -> bool:
    """Remove a file; False where that is not permitted."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if not is_for_reading_only(error):
            raise
        return False
    return True


def choose(
    stores: Sequence[StoreFolder],
    *,
    older_than: float | None = None,
    upstream: str | None = None,
    keep: float | None = None,
    everything: bool = False,
) -> list[StoreFolder]:
    """The stores that may go, least recently used first. Each condition narrows what the others leave.

    older_than: days since they were last used. upstream: its name.
    keep: bytes that all stores may take together; no more of them go than are needed for that.

    Raises MendableError for an upstream that no store is of.
    """
    names = sorted({store.upstream for store in stores if store.upstream})
    if upstream is not None and upstream not in names:
        raise MendableError(
            f"No store is of the upstream {upstream!r}. There are stores of: {', '.join(names) or 'none'}."
        )
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


def leftovers(stores: Iterable[StoreFolder]) -> list[Path]:
    """Files of these stores that nobody needs: writing that was given up, and shards that others repeat."""
    latest = time.time() - ABANDONED_AFTER
    return [
        path
        for store in stores
        for path in [*(p for p, stat in present(store.unfinished()) if stat.st_mtime < latest), *repeated(store)]
    ]


def present(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """The files that are still there, and what the system says of them: a run may rename or remove some meanwhile."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat()


def repeated(store: StoreFolder) -> list[Path]:
    """Shards all of whose utterances are in other shards too, which two processes that fill one store leave."""
    indexes = sorted(store.indexes(), key=lambda index: (len(index.digests), index.name))  # the smallest go
    copies = Counter(digest for index in indexes for digest in set(index.digests))
    found = []
    for index in indexes:
        if all(copies[digest] > 1 for digest in index.digests):
            copies.subtract(set(index.digests))
            found.append(store.path / index.name)
    return found


def remove(store: StoreFolder) -> None:
    """Remove a store: its own files, and its folder if nothing else lies there."""
    for path in [*store.shards(), *store.unfinished(), store.path / CARD]:  # without its card it could not be named
        path.unlink(missing_ok=True)
    if not any(store.path.iterdir()):
        store.path.rmdir()
