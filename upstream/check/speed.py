"""How fast an upstream is, how much memory it takes, and whether its batches are any faster than single calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from upstream.base import Upstream
from upstream.check.finding import NOTE, OK, Finding, joined, words_of_model
from upstream.check.layers import syllables
from upstream.custom import CustomUpstream
from upstream.errors import UserError
from upstream.out_of_memory import is_out_of_memory
from upstream.sizes import readable
from upstream.text import counted

DURATIONS = (1.0, 10.0, 30.0)  # seconds of an utterance
BATCHES = (1, 4, 8)
BATCH_SECONDS = 4.0  # of each utterance in them
REPEATS, ENOUGH_SECONDS = 3, 2.0  # a call is timed so often, or once if it takes that long
# Of a batch of 8, over one of 1: a model that computes each utterance by itself uses its weights 8 times as often, and
# one that pads and masks as often.
LOOPS = 0.75 * BATCHES[-1]


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call, the least of some after one to warm up."""

    def once() -> float:
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    first = once()
    if first > ENOUGH_SECONDS:
        return first
    return min(once() for _ in range(REPEATS))


def timed_if_it_works(encoder: Upstream, batch: list[Tensor]) -> float | str:
    """Return the seconds that a batch takes, or what is wrong with it, as the end of a sentence."""
    try:
        return timed(lambda: encoder(batch), encoder.device)
    except UserError as error:
        return f"fails: {words_of_model(error, encoder.name)}"
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return "does not fit into memory; runs halve such batches"


def check_speed(encoder: Upstream) -> Finding:
    """Time utterances of 1, 10 and 30 s; say the memory that the longest takes."""
    parts, values, verdict, before = [], {}, OK, peak_memory(encoder.device)
    for seconds in DURATIONS:
        waveform = syllables(seconds, 0)
        taken = timed_if_it_works(encoder, [waveform])
        if isinstance(taken, str):
            parts.append(f"{seconds:g} s {taken}")
            verdict = NOTE
            continue
        parts.append(f"{seconds:g} s in {milliseconds(taken)} ({times(seconds / taken)} times real time)")
        values[f"seconds_for_{seconds:g}_s"] = taken
    more = peak_memory(encoder.device) - before
    if more > 0:
        parts.append(f"the memory in use grew by {readable(more)}")
        values["peak_bytes"] = more
    return Finding("speed", f"on {threads(encoder.device)}: {joined(parts)}", verdict, values)


def check_batches(encoder: Upstream) -> Finding:
    """Time batches of 1, 4 and 8; of a user's model, say which it is: a loop, or a machine that is busy anyway."""
    module = encoder.model if isinstance(encoder, CustomUpstream) else None
    taken = {}
    for size in BATCHES:
        seconds = timed_if_it_works(encoder, [syllables(BATCH_SECONDS, seed) for seed in range(size)])
        if isinstance(seconds, str):
            return Finding("batch speed", f"a batch of {size}, {BATCH_SECONDS:g} s each, {seconds}", NOTE)
        taken[size] = seconds
    largest, single = BATCHES[-1], BATCHES[0]
    second = syllables(1.0, 0)
    uses = {size: uses_of_weights(encoder, module, [second] * size) for size in (single, largest)}
    ratio = taken[largest] / taken[single]
    each = ", ".join(f"{size} in {milliseconds(seconds)}" for size, seconds in taken.items())
    said = f"{BATCH_SECONDS:g} s each, {each}: a batch of {largest} takes {times(ratio)} times as long as one"
    values = {f"seconds_for_{size}": seconds for size, seconds in taken.items()} | {"ratio": ratio}
    if uses[single] and uses[largest] >= LOOPS * uses[single]:
        return Finding("batch speed", f"{said}: it does not batch, each utterance is computed by itself", NOTE, values)
    if ratio < LOOPS:
        return Finding("batch speed", f"{said}: it batches", OK, values)
    if uses[single]:
        busy = f"it does batch, but this {encoder.device.type} gains nothing from it"
        return Finding("batch speed", f"{said}: {busy}", OK, values)
    verdict = NOTE if encoder.device.type == "cuda" else OK  # a CPU is busy with one utterance
    return Finding("batch speed", f"{said}: batches gain nothing here", verdict, values)


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of PyTorch within it that use one of these tensors."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self._wanted = {tensor.data_ptr() for tensor in tensors if tensor.numel()}

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [one for each in args for one in (each if isinstance(each, list | tuple) else (each,))]
        self.operations += any(isinstance(one, Tensor) and one.data_ptr() in self._wanted for one in given)
        return function(*args, **(kwargs or {}))


def uses_of_weights(encoder: Upstream, module: object, batch: list[Tensor]) -> int:
    """Return how many operations on the module's tensors encoding a batch takes; 0 where they cannot be watched."""
    if not isinstance(module, nn.Module):
        return 0
    counter = Counter([*module.parameters(), *module.buffers()])
    try:
        with counter:
            encoder(batch)
    except (UserError, RuntimeError, NotImplementedError):  # compiled programs may refuse to be watched
        return 0
    return counter.operations


# ---------------------------------------------------------------- words


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were in use so far: of the GPU by PyTorch, or of this process; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def threads(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"the CPU with {counted(torch.get_num_threads(), 'thread')}"


def times(ratio: float) -> str:
    """Return a ratio with two or three digits."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2g}" if ratio < 10 else f"{ratio:.3g}"


def milliseconds(seconds: float) -> str:
    """Return a duration as "12 ms" or "3.4 s"."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
