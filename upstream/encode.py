"""Utterances to states: decoded ahead of the upstream, computed in batches that fit the memory there is."""

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
from upstream.errors import MendableError

logger = logging.getLogger(__name__)

BATCHES_AHEAD = 2  # being decoded while one is computed: one to go on with, one for when decoding is uneven
WORKERS = min(4, os.cpu_count() or 1)  # threads that decode; more would take the CPU from an upstream that runs on it
WORKERS_BESIDE_GPU = min(16, os.cpu_count() or 1)  # where the cores have nothing else to do; more share one interpreter

# How allocators that raise a plain RuntimeError say that no memory is left: the CPU's on Linux and Windows, the driver,
# the C++ library and oneDNN.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "could not create a memory object",
)


class Audio(Protocol):
    """An utterance's audio, as far as extraction is concerned."""

    def load(self) -> Tensor:
        """The waveform, (S,) float32 at 16 kHz in [-1, 1]."""


@dataclass(frozen=True)
class Item:
    """One utterance to be extracted; name: for messages; digest: of its audio; seconds: its duration."""

    name: str
    audio: Audio
    digest: str
    seconds: float


def seconds_of(items: Iterable[Item]) -> float:
    """How long the items last together."""
    return sum(item.seconds for item in items)


# ---------------------------------------------------------------- waveforms to states


@dataclass
class Memory:
    """What is known of how much audio can be computed at once.

    samples: of the largest batch worth trying, once it is padded; infinite until memory ran out.
    """

    samples: float = math.inf

    def fitting(self, waveforms: Sequence[Tensor]) -> int:
        """How many of the waveforms, from the first on, to try together; one at least."""
        return max(1, sum(padded(waveforms[:count]) <= self.samples for count in range(1, len(waveforms) + 1)))

    def ran_out(self, waveforms: Sequence[Tensor]) -> None:
        """Try no more than half of these from now on."""
        if self.samples == math.inf:
            logger.warning(
                "out of memory with %d utterances of %.1f s of audio in all; going on with smaller batches",
                len(waveforms),
                sum(map(len, waveforms)) / SAMPLE_RATE,
            )
        self.samples = padded(waveforms[: len(waveforms) // 2])


def padded(waveforms: Sequence[Tensor]) -> int:
    """Samples of a batch of these, each filled up to the longest."""
    return len(waveforms) * max(map(len, waveforms))


def encode(
    upstream: Upstream,
    items: Sequence[Item],
    waveforms: Sequence[Tensor],
    reduction: str,
    memory: Memory | None = None,
) -> list[Tensor]:
    """The states of each utterance of a batch, on the upstream's device.

    reduction: "means" for (L, D) float32 each, "frames" for (L, T_i, D) each in the upstream's precision.
    memory: what earlier batches have taught of it. Where memory runs out the batch is halved until it fits.

    Raises MendableError with the utterance's name for audio that the upstream refuses, states that are not finite,
    and an utterance that does not fit into memory alone.
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
            raise MendableError(
                f"{part[0].name} lasts {len(rest[0]) / SAMPLE_RATE:.1f} s, which is more than {upstream.name} can take "
                f"with the memory of {upstream.device}; cut it into shorter utterances, leave it out, or try "
                "--dtype bfloat16 or another --device."
            )
    return states


def compute_if_it_fits(
    upstream: Upstream, items: Sequence[Item], waveforms: list[Tensor], reduction: str
) -> list[Tensor] | None:
    """`compute`, or None if memory ran out; then all that it had taken is free again."""
    try:
        return compute(upstream, items, waveforms, reduction)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Out here the error is gone, and with it the frames of its traceback, which held the tensors.
    if upstream.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether it says that a CPU or a GPU had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sentence in str(error) for sentence in OUT_OF_MEMORY)


def compute(upstream: Upstream, items: Sequence[Item], waveforms: list[Tensor], reduction: str) -> list[Tensor]:
    """The states of all these utterances in one call; whatever is wrong with one is said with its name."""
    try:
        if reduction == "means":
            states = list(upstream.means(waveforms))
        else:
            hidden = upstream(waveforms)
            states = [hidden.utterance(i) for i in range(len(items))]
    except MendableError:
        for item, waveform in zip(items, waveforms, strict=True):
            check_waveform(waveform, item.name)
        for item, waveform in zip(items, waveforms, strict=True):
            refuse_alone(upstream, item, waveform)
        raise
    finite = torch.stack([torch.isfinite(state).all() for state in states]).tolist()  # one wait for the GPU, not B
    for item, is_finite in zip(items, finite, strict=True):
        if not is_finite:
            raise MendableError(
                f"{upstream.name} gives NaN or infinite states for {item.name}; mend the model or its precision "
                "(--dtype), or leave the utterance out."
            )
    return states


def refuse_alone(upstream: Upstream, item: Item, waveform: Tensor) -> None:
    """Raise what the upstream has against this utterance, if anything, with its name."""
    try:
        upstream([waveform])
    except MendableError as error:
        raise MendableError(f"{item.name}: {error}") from error


# ---------------------------------------------------------------- audio to waveforms


def workers_for(device: torch.device) -> int:
    """Threads that decode for an upstream on this device."""
    return WORKERS if device.type == "cpu" else WORKERS_BESIDE_GPU


def waveforms_ahead(batches: Iterable[Sequence[Item]], workers: int = WORKERS) -> Generator[list[Tensor]]:
    """The waveforms of each batch, decoded by `workers` threads while the batches before are computed.

    No more than BATCHES_AHEAD batches are asked for and decoded in advance, or as many as give every worker an
    utterance. What an utterance's audio raises is raised when its batch is due. Closing the iterator ends the threads.

    PyTorch works alone in each of these threads: resampling would otherwise begin a thread on every core for each of
    the workers, in each other's way and the upstream's.
    """
    keep_threads()
    with ThreadPoolExecutor(workers, "decoder", initializer=work_alone) as pool:
        ahead: deque[list[Future[Tensor]]] = deque()
        try:
            for batch in batches:
                ahead.append([pool.submit(item.audio.load) for item in batch])
                if len(ahead) > BATCHES_AHEAD and sum(map(len, ahead)) - len(ahead[0]) >= workers:
                    yield results(ahead.popleft())
            while ahead:
                yield results(ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            keep_threads()


def results(batch: Iterable[Future[Tensor]]) -> list[Tensor]:
    """Wait for the waveforms of a batch."""
    waveforms = [waveform.result() for waveform in batch]
    keep_threads()
    return waveforms


def work_alone() -> None:
    """From now on PyTorch uses no other thread for what this one asks of it."""
    torch.get_num_threads()  # the number is a thread's own once it was asked for; before, the last that any thread set
    torch.set_num_threads(1)


def keep_threads() -> None:
    """Let PyTorch use as many threads for this one as before, and as many for those that begin from now on."""
    torch.set_num_threads(torch.get_num_threads())
