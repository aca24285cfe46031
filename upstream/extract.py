"""The pass of a corpus through a frozen upstream, which fills the store.

Three things go on at once: worker threads decode the audio of the next batches, the upstream computes a batch,
and a thread writes the states of earlier ones. Several processes may share the work (torchrun), and a pass that
was interrupted goes on where it stopped. All of them cut the same batches from the same list, so an utterance
always has the same batch-mates and its states the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import tee
from types import TracebackType
from typing import Any

from torch import Tensor
from tqdm import tqdm

from upstream.base import Upstream
from upstream.encode import Item, Memory, encode, seconds_of, waveforms_ahead, workers_for
from upstream.errors import MendableError
from upstream.ranks import ALONE, Ranks
from upstream.store import StateStore, estimate_bytes

BATCH_SECONDS = 60.0  # of padded audio in one call of the upstream; its states are 120 MB for Base in float32

# A shard is what an interruption can cost and what a reader maps: small enough to lose and to check quickly, large
# enough that a corpus is hundreds of files and not a hundred thousand. Of means the utterances are the bound (13 MB
# for Large), of frames the bytes (26 s of Large in float16).
SHARD_BYTES = 64 * 2**20
SHARD_UTTERANCES = 128

# ---------------------------------------------------------------- the pass


def fill(
    store: StateStore, upstream: Upstream, items: Sequence[Item], progress: bool = True, ranks: Ranks = ALONE
) -> float:
    """See that the store holds the states of all items; return the seconds of audio that were not in it, of all ranks.

    Shards that hold any of the items are checked first; those that were damaged stand in `store.damaged`, and what
    they held is made again. Of several ranks each takes every `world`-th batch and waits for the others.

    Raises MendableError for audio that cannot be read or encoded, with the utterance's name, for a disk that cannot
    be written, and where other ranks wrote to a store that is not this one. What was computed until then is kept.
    """
    store.check([item.digest for item in items], progress and ranks.main)
    ranks.barrier(upstream.device)  # a rank that found damage late would remove what another has just made again
    store.refresh()  # what another process found damaged is gone
    sizes = {item.digest: estimate_bytes(store.key, upstream.stride, [item.seconds]) for item in items}
    batches = [missing(store, batch) for batch in plan(items, sizes)]
    own = [batch for batch in batches[ranks.rank :: ranks.world] if batch]
    extract(store, upstream, own, sizes, progress and ranks.main)
    ranks.barrier(upstream.device)
    store.refresh()
    if lost := missing(store, items):
        raise MendableError(
            f"{len(lost)} utterances were extracted, but the store {store.folder} does not have them, {lost[0].name} "
            "first. If several machines share the work, choose a --store on a disk that all of them see; "
            "otherwise something removed them meanwhile: run the same command again."
        )
    return sum(seconds_of(batch) for batch in batches)


def extract(
    store: StateStore, upstream: Upstream, batches: Sequence[list[Item]], sizes: Mapping[str, int], progress: bool
) -> None:
    """Compute the batches one by one and write their states to the store; sizes: as for `fits_shard`."""
    bar: tqdm[Any] = tqdm(
        total=sum(seconds_of(batch) for batch in batches),
        desc=f"extracting {upstream.name}",
        disable=not progress or not batches,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio "
        "[{elapsed}<{remaining}, {rate_noinv_fmt}]",
        unit=" audio s",
    )

    def is_wanted(batch: list[Item]) -> bool:
        """Whether no other process has written the batch meanwhile; if one has, it is not to be counted here."""
        if missing(store, batch):
            return True
        bar.total = (bar.total or 0.0) - seconds_of(batch)
        return False

    memory = Memory()
    wanted, to_decode = tee(filter(is_wanted, batches))
    with (
        bar,
        closing(waveforms_ahead(to_decode, workers_for(upstream.device))) as decoded,
        ShardWriter(store, sizes) as writer,
    ):
        for batch, waveforms in zip(wanted, decoded, strict=True):
            if is_wanted(batch):
                states = encode(upstream, batch, waveforms, store.key.reduction, memory)
                writer.add(batch, [state.cpu() for state in states])
                bar.update(seconds_of(batch))


def missing(store: StateStore, items: Iterable[Item]) -> list[Item]:
    """Those of the items that are not in the store."""
    return [item for item in items if item.digest not in store]


# ---------------------------------------------------------------- what is computed and written together


def plan(items: Sequence[Item], sizes: Mapping[str, int] | None = None) -> list[list[Item]]:
    """Batches of at most BATCH_SECONDS once they are padded, longest utterances first; equal audio once.

    sizes: as for `fits_shard`, if no batch may be larger than a shard: then shards consist of whole batches, and a
    batch is in the store or is not. An utterance that is too long for a batch is one by itself.
    """
    distinct = {item.digest: item for item in items}
    batches: list[list[Item]] = []
    for item in sorted(distinct.values(), key=lambda item: (-item.seconds, item.digest)):
        longer = [*batches[-1], item] if batches else []
        if longer and len(longer) * longer[0].seconds <= BATCH_SECONDS and (not sizes or fits_shard(longer, sizes)):
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def fits_shard(items: Sequence[Item], sizes: Mapping[str, int]) -> bool:
    """Whether the states of these utterances may share a shard; sizes: bytes that each takes on disk, by digest."""
    return len(items) <= SHARD_UTTERANCES and sum(sizes[item.digest] for item in items) <= SHARD_BYTES


class ShardWriter:
    """Gathers the states of whole batches to shards and writes them in the background, one at a time.

    While a shard is written the next one gathers; when that is full as well, `add` waits. To be used in a `with`,
    whose end writes what is left, whatever ended it.
    """

    def __init__(self, store: StateStore, sizes: Mapping[str, int]) -> None:
        self.store, self.sizes = store, sizes
        self._gathered: list[tuple[Item, Tensor]] = []
        self._writing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "shard-writer")

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._hand_over()
            self._wait()
        finally:
            self._thread.shutdown()

    def add(self, batch: Sequence[Item], states: Sequence[Tensor]) -> None:
        """Take the states of a batch, on the CPU. Raises what went wrong with writing an earlier shard."""
        try:
            if not fits_shard([*(item for item, _ in self._gathered), *batch], self.sizes):
                self._hand_over()
        finally:  # if the shard before failed, or somebody tired of waiting for it, this batch is still written
            self._gathered.extend(zip(batch, states, strict=True))

    def _hand_over(self) -> None:
        self._wait()
        if self._gathered:
            shard, self._gathered = self._gathered, []
            self._writing = self._thread.submit(self._write, shard)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None  # a shard that failed is reported once
        if writing:
            writing.result()

    def _write(self, shard: Sequence[tuple[Item, Tensor]]) -> None:
        self.store.add([item.digest for item, _ in shard], [states for _, states in shard])
        self.store.refresh()  # another process may fill the same store
