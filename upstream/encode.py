"""Utterances to states: audio is decoded ahead of the upstream, batches are halved where memory runs out."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE, Upstream, check_waveform
from upstream.errors import UserError
from upstream.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)

BATCHES_AHEAD = 2  # decoded while one is computed: the next one, and one more because decoding times vary
WORKERS = min(4, os.cpu_count() or 1)  # decoding threads; more would take CPU time from an upstream on the CPU
WORKERS_BESIDE_GPU = min(16, os.cpu_count() or 1)  # the cores are idle; more threads would wait for the interpreter


class Audio(Protocol):
    """What extraction needs of an utterance's audio."""

    def load(self) -> Tensor:
        """Return the waveform, (S,) float32 at 16 kHz in [-1, 1]."""


@dataclass(frozen=True)
class Item:
    """One utterance to extract.

    name: for messages. digest: of its audio. seconds: its duration.
    """

    name: str
    audio: Audio
    digest: str
    seconds: float


def seconds_of(items: Iterable[Item]) -> float:
    """Return the total duration of the items in seconds."""
    return sum(item.seconds for item in items)


class NotFiniteError(UserError):
    """States that are NaN or infinite."""


# ---------------------------------------------------------------- waveforms to states


@dataclass
class Memory:
    """The largest batch that may fit into memory.

    samples: of that batch, padded; infinite until memory ran out.
    """

    samples: float = math.inf

    def fitting(self, waveforms: Sequence[Tensor]) -> int:
        """Return how many of the first waveforms to encode together; at least one."""
        return max(1, sum(padded(waveforms[:count]) <= self.samples for count in range(1, len(waveforms) + 1)))

    def ran_out(self, waveforms: Sequence[Tensor]) -> None:
        """Limit later batches to half of this one."""
        if self.samples == math.inf:
            logger.warning(
                "out of memory with %d utterances, %.1f s of audio in total; going on with smaller batches",
                len(waveforms),
                sum(map(len, waveforms)) / SAMPLE_RATE,
            )
        self.samples = padded(waveforms[: len(waveforms) // 2])


def padded(waveforms: Sequence[Tensor]) -> int:
    """Return the samples of a batch of these waveforms, padded to the longest."""
    return len(waveforms) * max(map(len, waveforms))


def encode(
    upstream: Upstream,
    items: Sequence[Item],
    waveforms: Sequence[Tensor],
    reduction: str,
    memory: Memory | None = None,
) -> list[Tensor]:
    """Return the states of each utterance of a batch, on the upstream's device.

    waveforms: (S_i,) float32 of each item.
    reduction: "means" for (L, D) float32 each, "statistics" for (L, 2 D) float32 each, "frames" for (L, T_i, D) each
        in the upstream's precision.
    memory: limit learned from earlier batches. If memory runs out, the batch is halved until it fits.

    Raises UserError with the utterance's name for audio that the upstream refuses or fails on, states that are not
    finite, and an utterance that does not fit into memory alone.
    """
    memory = memory or Memory()
    states: list[Tensor] = []
    while rest := list(waveforms[len(states) :]):
        count = memory.fitting(rest)
        part = items[len(states) : len(states) + count]
        found = compute_if_it_fits(upstream, part, rest[:count], reduction)
        if found is not None:
            states.extend(found)
        elif count > 1:
            memory.ran_out(rest[:count])
        else:
            raise UserError(
                f"{part[0].name} lasts {len(rest[0]) / SAMPLE_RATE:.1f} s, which is more than {upstream.name} can "
                f"encode in the memory of {upstream.device}; cut it into shorter utterances, leave it out, or try "
                "--dtype bfloat16 or another --device."
            )
    return states


def compute_if_it_fits(
    upstream: Upstream, items: Sequence[Item], waveforms: list[Tensor], reduction: str
) -> list[Tensor] | None:
    """Return the result of `compute`, or None if memory ran out; what it allocated is free again then."""
    try:
        return compute(upstream, items, waveforms, reduction)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here is the error gone, and with it the frames of its traceback, which hold tensors.
    if upstream.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def compute(upstream: Upstream, items: Sequence[Item], waveforms: list[Tensor], reduction: str) -> list[Tensor]:
    """Return the states of all these utterances from one call of the upstream; errors name the utterance."""
    try:
        if reduction == "means":
            states = list(upstream.means(waveforms))
        elif reduction == "statistics":
            states = list(upstream.statistics(waveforms))
        else:
            hidden = upstream(waveforms)
            states = [hidden.utterance(i) for i in range(len(items))]
    except UserError as error:
        for item, waveform in zip(items, waveforms, strict=True):
            check_waveform(waveform, item.name)
        for item, waveform in zip(items, waveforms, strict=True):
            raise_if_refused(upstream, item, waveform)
        others = f" and {len(items) - 1} more in one batch" if len(items) > 1 else ""
        raise UserError(f"{items[0].name}{others}: {error}") from error
    finite = torch.stack([torch.isfinite(state).all() for state in states]).tolist()  # one GPU synchronisation, not B
    for item, is_finite in zip(items, finite, strict=True):
        if not is_finite:
            raise NotFiniteError(
                f"{upstream.name} gives NaN or infinite states for {item.name}; fix the model or its precision "
                "(--dtype), or leave the utterance out."
            )
    return states


def raise_if_refused(upstream: Upstream, item: Item, waveform: Tensor) -> None:
    """Encode one utterance alone and raise the upstream's UserError, if any, with the utterance's name."""
    try:
        upstream([waveform])
    except UserError as error:
        raise UserError(f"{item.name}: {error}") from error


# ---------------------------------------------------------------- audio to waveforms


def workers_for(device: torch.device) -> int:
    """Return the number of decoding threads for an upstream on this device."""
    return WORKERS if device.type == "cpu" else WORKERS_BESIDE_GPU


def waveforms_ahead(batches: Iterable[Sequence[Item]], workers: int = WORKERS) -> Generator[list[Tensor]]:
    """Yield the waveforms of each batch, decoded by `workers` threads while earlier batches are computed.

    At most BATCHES_AHEAD batches are requested and decoded in advance, or as many as give every worker an utterance.
    An error of an utterance's audio is raised when its batch is due. Closing the iterator ends the threads.

    PyTorch uses one thread in each worker: otherwise resampling would start a thread on every core for each worker,
    and they would compete with each other and with the upstream.
    """
    pin_thread_count()
    with ThreadPoolExecutor(workers, "decoder", initializer=use_one_thread) as pool:
        ahead: deque[list[Future[Tensor]]] = deque()
        try:
            for batch in batches:
                ahead.append([pool.submit(loaded, item) for item in batch])
                if len(ahead) > BATCHES_AHEAD and sum(map(len, ahead)) - len(ahead[0]) >= workers:
                    yield results(ahead.popleft())
            while ahead:
                yield results(ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            pin_thread_count()


def loaded(item: Item) -> Tensor:
    """Return the waveform of an item; raise UserError with its name where there is no memory to decode it."""
    try:
        return item.audio.load()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"Memory ran out while {item.name} was decoded, which lasts {item.seconds:.1f} s; cut it into shorter "
            "utterances, or leave it out."
        ) from error


def results(batch: Iterable[Future[Tensor]]) -> list[Tensor]:
    """Wait for the waveforms of a batch."""
    waveforms = [waveform.result() for waveform in batch]
    pin_thread_count()
    return waveforms


def use_one_thread() -> None:
    """Limit PyTorch to one thread for calls from the current thread."""
    torch.get_num_threads()  # makes the count local to this thread; without it the last count set anywhere holds
    torch.set_num_threads(1)


def pin_thread_count() -> None:
    """Keep PyTorch's thread count for the current thread and for threads that start later."""
    torch.set_num_threads(torch.get_num_threads())
