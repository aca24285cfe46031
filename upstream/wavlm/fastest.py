"""Which of several ways to compute something is the fastest on this machine: each is tried, briefly.

How fast a way is depends on the processor, on PyTorch's version and on both together, and a way that is the fastest on
one processor can be fifty times too slow on another. So nothing is assumed: ways take turns on the same numbers, and a
way that is slower, fails, or gives other numbers than the plain one is not used.

Results of different ways differ in their last bits. What was found is therefore kept in a file of the user's cache, and
the same machine computes the same bits ever after, however busy it is at the time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.json_file import read_json_object
from upstream.processor import described_by_linux
from upstream.unfinished import unfinished_name
from upstream.user import cache_folder

logger = logging.getLogger(__name__)

Way = Callable[[], Tensor]

TURNS = 4  # of each way, after one that warms up; the least of its times counts, which other work delays the least
MARGIN = 1.25  # the way that is preferred loses against one that is faster by more than this
HOPELESS = 4.0  # times slower than another way: not tried again
TOLERANCE = 16.0  # units of the precision's rounding, of a relative error in norm
VERSION = 1  # increase it when the ways or the trials change


@dataclass(frozen=True)
class Outcome:
    """The way that was chosen, and the least seconds of every way that gave the right numbers."""

    chosen: str
    seconds: Mapping[str, float]

    def describe(self) -> str:
        """Return the way and what it was compared with: "plain (onednn 8.1 ms, plain 5.2 ms)"."""
        return f"{self.chosen} ({', '.join(f'{way} {1000 * took:.3g} ms' for way, took in self.seconds.items())})"


def compare(ways: Mapping[str, Way], device: torch.device) -> Outcome:
    """Try ways to compute the same tensor. The first is preferred, the last is the plain one, which is always right.

    The preferred way loses only where another is faster by more than `MARGIN`, twice.
    """
    *_, plain = ways
    expected = ways[plain]().float()
    right = {name: way for name, way in ways.items() if name == plain or _is_right(name, way, expected)}
    preferred, *_ = right
    seconds = take_turns(right, TURNS, device)
    if _fastest(seconds, preferred) != preferred:  # a surprise: something else may have delayed it
        seconds = take_turns(right, 2 * TURNS, device)
    return Outcome(_fastest(seconds, preferred), seconds)


def take_turns(ways: Mapping[str, Way], turns: int, device: torch.device) -> dict[str, float]:
    """Return the least seconds of each way over several turns; hopeless ones have one turn."""
    seconds = {name: float("inf") for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            if not HOPELESS * min(seconds.values()) < seconds[name] < float("inf"):
                seconds[name] = min(seconds[name], _seconds(way, device))
    return seconds


def _fastest(seconds: Mapping[str, float], preferred: str) -> str:
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] * MARGIN < seconds[preferred] else preferred


def _seconds(way: Way, device: torch.device) -> float:
    _synchronize(device)
    began = time.perf_counter()
    way()
    _synchronize(device)
    return time.perf_counter() - began


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _is_right(name: str, way: Way, expected: Tensor) -> bool:
    try:
        found = way()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # oneDNN refuses what a processor cannot do
        logger.warning("%s is not used: it fails here (%s)", name, error)
        return False
    error_in_norm = float((found.float() - expected).norm() / expected.norm())
    if error_in_norm < TOLERANCE * torch.finfo(found.dtype).eps:  # NaN fails this test
        return True
    logger.warning("%s is not used: it is %.1e off here", name, error_in_norm)
    return False


# ---------------------------------------------------------------- kept on disk


def remembered(subject: str, ways: Mapping[str, Mapping[str, Way]], device: torch.device) -> Mapping[str, Outcome]:
    """Return the outcome of each operation's `ways`, as it was when this machine first compared those of `subject`.

    Of processes that begin together, the first to finish decides for all that share the cache. Where the cache cannot
    be written, every process decides for itself.
    """
    machine = describe_machine(device) | {"subject": subject, "version": VERSION}
    digest = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "wavprobe" / f"fastest-{digest[:16]}.json"
    known = _read(path, ways)
    if known is None:
        outcomes = {operation: compare(own, device) for operation, own in ways.items()}
        _keep(path, machine | {"outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()}})
        known = _read(path, ways) or outcomes
    return known


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return what the speed of ways depends on, but for the number of threads: it must not decide bits."""
    name = stepping_of_processor() if device.type == "cpu" else torch.cuda.get_device_name(device)
    return {
        "device": name,
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "onednn": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    }


def stepping_of_processor() -> str:
    """Return the processor's name, family, model and stepping, or its architecture."""
    found = described_by_linux()
    names = [found[key] for key in ("model name", "cpu family", "model", "stepping") if key in found]
    return " ".join(names) or f"{platform.machine()} {platform.processor()}".strip()


def _read(path: Path, ways: Mapping[str, Mapping[str, Way]]) -> dict[str, Outcome] | None:
    """Return the outcomes that were kept, or None where there are none; a file that is not as written is removed."""
    if not path.exists():
        return None
    try:
        kept = {name: Outcome(**one) for name, one in read_json_object(path)["outcomes"].items()}
        if any(kept[operation].chosen not in own for operation, own in ways.items()):
            raise ValueError("a way that there is not")
        return kept
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        logger.warning("%s is not as it was written (%s); it is made again", path, error)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None


def _keep(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file, unless it is there: a link to a finished file either appears as a whole or not at all."""
    temporary = unfinished_name(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first
    except OSError as error:
        logger.info("what is fastest here cannot be kept in %s (%s)", path.parent, error.strerror)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
