"""Encode a corpus with a frozen upstream and write the states to the store.

Worker threads decode the next batches, the upstream encodes the current one, and a thread writes the states of earlier
ones. Several processes can share the work (torchrun), and an interrupted extraction resumes where it stopped. All
processes cut the same batches from the same list, so an utterance is always encoded in the same batch and its states
have the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import tee
from types import TracebackType
from typing import Any, Protocol

from torch import Tensor
from tqdm import tqdm

from upstream.base import Upstream, means_of, statistics_of
from upstream.encode import Item, Memory, encode, seconds_of, waveforms_ahead, workers_for
from upstream.errors import UserError
from upstream.ranks import ALONE, Ranks
from upstream.store import REDUCTIONS, StateStore, estimate_bytes
from upstream.text import counted

BATCH_SECONDS = 60.0  # of padded audio in one call of the upstream; its states are 120 MB for Base in float32

# A shard is what an interruption loses and what a reader maps: small enough to recompute and check quickly, large
# enough that a corpus is hundreds of files and not a hundred thousand. Means reach the limit on utterances (13 MB for
# Large), frames the limit on bytes (26 s of Large in float16).
SHARD_BYTES = 64 * 2**20
SHARD_UTTERANCES = 128

# ---------------------------------------------------------------- extraction


class Destination(Protocol):
    """Where states are written to: a store, or files that a user takes away."""

    def __contains__(self, digest: str) -> bool:
        """Return True if the states of this audio are there."""

    def add(self, digests: Sequence[str], states: Sequence[Tensor]) -> None:
        """Write the states of utterances, by the digests of their audio: means (L, D) or frames (L, T, D) of each."""

    def refresh(self) -> None:
        """Look for what other processes have written in the meantime."""


@dataclass(frozen=True)
class Wanted:
    """States that a destination is to have.

    reduction: "means", "statistics" or "frames". sizes: bytes on disk of each utterance that it wants, by digest.
    """

    destination: Destination
    reduction: str
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, store: StateStore, upstream: Upstream, items: Iterable[Item]) -> Wanted:
        """Return what a store is to have of these utterances."""
        sizes = {item.digest: estimate_bytes(store.key, upstream.stride, [item.seconds]) for item in items}
        return cls(store, store.key.reduction, sizes)

    def missing(self, items: Iterable[Item]) -> list[Item]:
        """Return those of the items that are wanted and not there."""
        return [item for item in missing(self.destination, items) if item.digest in self.sizes]


def fill(
    store: StateStore,
    upstream: Upstream,
    items: Sequence[Item],
    progress: bool = True,
    ranks: Ranks = ALONE,
    beside: Sequence[Wanted] = (),
) -> float:
    """Encode the items that are missing from the store; return their total duration in seconds, over all ranks.

    Means are taken from a store of statistics of the same upstream where there is one, without encoding anything.
    Shards that hold any of the items are checked first; damaged ones are listed in `store.damaged` and recomputed.
    With several ranks, each encodes every `world`-th batch and waits for the others.

    beside: what further stores want of this upstream. They get their states of what is encoded here, in the same pass,
        with the bits that a pass of their own would give.

    Raises UserError for audio that cannot be read or encoded, with the utterance's name, for a disk that cannot
    be written, and if other ranks wrote to another store. States computed until then are kept.
    """
    store.check([item.digest for item in items], progress and ranks.main)
    if ranks.main:
        take_means(store, items)
    ranks.barrier(upstream.device)  # else a slow rank could remove a damaged shard that another has just replaced
    store.refresh()  # forget damaged shards that another process has removed
    own = Wanted.of(store, upstream, items)
    largest = {item.digest: max(one.sizes.get(item.digest, 0) for one in (own, *beside)) for item in items}
    batches = [missing(store, batch) for batch in plan(items, largest)]
    share = [batch for batch in batches[ranks.rank :: ranks.world] if batch]
    extract(upstream, share, [own, *beside], progress and ranks.main)
    ranks.barrier(upstream.device)
    store.refresh()
    if lost := missing(store, items):
        raise UserError(
            f"{counted(len(lost), 'utterance was', 'utterances were')} extracted, but the store {store.folder} lacks "
            f"{'it' if len(lost) == 1 else 'them'}, {lost[0].name} "
            "first. If several machines share the work, choose a --store on a disk that all of them see; "
            "otherwise the files were removed in the meantime: run the same command again."
        )
    return sum(seconds_of(batch) for batch in batches)


def take_means(store: StateStore, items: Sequence[Item]) -> None:
    """Add the missing means of utterances whose statistics are stored, which begin with them; of no other reduction."""
    wider = store.beside("statistics") if store.key.reduction == "means" else None
    wanted = [item.digest for item in missing(store, {item.digest: item for item in items}.values())]
    if wider is None or not wanted:
        return
    wider.check(wanted)
    there = [digest for digest in wanted if digest in wider]
    for first in range(0, len(there), SHARD_UTTERANCES):
        part = there[first : first + SHARD_UTTERANCES]
        store.add(part, [state[:, : store.key.dim] for state in wider.statistics(part).unbind(1)])


def extract(upstream: Upstream, batches: Sequence[list[Item]], wanted: Sequence[Wanted], progress: bool) -> None:
    """Encode the batches one by one and write their states.

    wanted: at each destination. The first one's decides what is encoded; the others get their states of that.
    """
    bar = bar_of_audio(f"extracting {upstream.name}", batches, progress)

    def is_wanted(batch: list[Item]) -> bool:
        """Return False, and lower the total, if another process has written the batch in the meantime."""
        if missing(wanted[0].destination, batch):
            return True
        bar.total = (bar.total or 0.0) - seconds_of(batch)
        return False

    memory = Memory()
    encoded, to_decode = tee(filter(is_wanted, batches))
    with (
        bar,
        closing(waveforms_ahead(to_decode, workers_for(upstream.device))) as decoded,
        ExitStack() as stack,
    ):
        writers = [stack.enter_context(ShardWriter(one.destination, one.sizes)) for one in wanted]
        for batch, waveforms in zip(encoded, decoded, strict=True):
            if is_wanted(batch):
                parts = [batch, *(one.missing(batch) for one in wanted[1:])]
                widest = max(
                    (one.reduction for one, part in zip(wanted, parts, strict=True) if part), key=REDUCTIONS.index
                )
                encoded_states = encode(upstream, batch, waveforms, widest, memory)
                states = {item.digest: state for item, state in zip(batch, encoded_states, strict=True)}
                for one, part, writer in zip(wanted, parts, writers, strict=True):
                    own = [reduced(states[item.digest], widest, one.reduction, upstream.dim) for item in part]
                    writer.add(part, [state.cpu() for state in own])
                bar.update(seconds_of(batch))


def reduced(states: Tensor, reduction: str, wanted: str, dim: int) -> Tensor:
    """Return the states of one utterance, of a reduction, as a narrower one or the same has them.

    dim: D. The bits are those of `Upstream.means` and `Upstream.statistics`.
    """
    if wanted == reduction:
        return states
    if reduction == "statistics":
        return states[:, :dim]  # of means
    return means_of(states) if wanted == "means" else statistics_of(states)


def bar_of_audio(what: str, batches: Sequence[Sequence[Item]], progress: bool) -> tqdm[Any]:
    """Return a progress bar of seconds of audio, with their number a second; what: stands before it."""
    return tqdm(
        total=sum(map(seconds_of, batches)),
        desc=what,
        disable=not progress or not batches,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio "
        "[{elapsed}<{remaining}, {rate_noinv_fmt}]",
        unit=" audio s",
    )


def missing(destination: Destination, items: Iterable[Item]) -> list[Item]:
    """Return the items whose states are not there."""
    return [item for item in items if item.digest not in destination]


# ---------------------------------------------------------------- batches and shards


def plan(items: Sequence[Item], sizes: Mapping[str, int] | None = None) -> list[list[Item]]:
    """Return batches of at most BATCH_SECONDS after padding, longest utterances first; equal audio once.

    sizes: as for `fits_shard`; limits each batch to the size of a shard. Shards then consist of whole batches, and a
        batch is in the store completely or not at all.

    An utterance longer than BATCH_SECONDS is a batch alone.
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
    """Return True if the states of these utterances fit one shard; sizes: bytes on disk of each, by digest."""
    return len(items) <= SHARD_UTTERANCES and sum(sizes[item.digest] for item in items) <= SHARD_BYTES


class ShardWriter:
    """Collect the states of whole batches into shards and write them in the background, one at a time.

    While a shard is written, the next one is collected; when that is full too, `add` waits. Use it in a `with`
    statement, which writes the rest at its end, also after an exception.
    """

    def __init__(self, destination: Destination, sizes: Mapping[str, int]) -> None:
        self.destination, self.sizes = destination, sizes
        self._collected: list[tuple[Item, Tensor]] = []
        self._writing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "shard-writer")

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._start_writing()
            self._wait()
        finally:
            self._thread.shutdown()

    def add(self, batch: Sequence[Item], states: Sequence[Tensor]) -> None:
        """Add the states of a batch, on the CPU. Raises the error of an earlier shard that could not be written."""
        if not batch:
            return
        try:
            if not fits_shard([*(item for item, _ in self._collected), *batch], self.sizes):
                self._start_writing()
        finally:  # this batch is still written if an earlier shard failed or the user interrupted the wait
            self._collected.extend(zip(batch, states, strict=True))

    def _start_writing(self) -> None:
        self._wait()
        if self._collected:
            shard, self._collected = self._collected, []
            self._writing = self._thread.submit(self._write, shard)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None  # a failed shard is reported once
        if writing:
            writing.result()

    def _write(self, shard: Sequence[tuple[Item, Tensor]]) -> None:
        self.destination.add([item.digest for item, _ in shard], [states for _, states in shard])
        self.destination.refresh()
