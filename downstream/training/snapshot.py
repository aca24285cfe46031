"""Snapshots from which an interrupted training resumes, bit for bit."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from upstream.files import write_atomically

logger = logging.getLogger("wavprobe")

# The rooms whose code makes the bits of a training.
ROOMS = ("upstream", *(f"downstream/{room}" for room in ("states", "tasks", "training", "finetuning", "pretraining")))

FACTS = "facts"  # the name of the tensor that holds them as JSON
DIGEST_BYTES = 32
SNAPSHOT_SHARE = 0.05  # largest share of the time spent on snapshots


def write_snapshot(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts (JSON values) atomically: `path` has all of them, or what it had before."""
    written = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()} | {FACTS: written})
    write_atomically(path, hashlib.sha256(content).digest(), content)


def read_snapshot(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what `write_snapshot` wrote; None where there is no file, and with a warning where it is damaged."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream:
            digest, content = stream.read(DIGEST_BYTES), stream.read()
    except OSError as error:
        logger.warning("Cannot read %s (%s); what it held is computed again", path, error.strerror)
        return None
    if hashlib.sha256(content).digest() != digest:
        logger.warning("%s is damaged; what it held is computed again", path)
        return None
    tensors = load(content)
    return tensors, json.loads(tensors.pop(FACTS).numpy().tobytes())


@cache
def code_version() -> str:
    """Return a digest of what makes the bits of a training: the code of its ROOMS, and PyTorch.

    A training that began with other code is not resumed, since it would end in bits that neither code gives.
    """
    rooms = Path(__file__).parents[2]
    files = sorted(path for room in ROOMS for path in (rooms / room).rglob("*.py"))
    digest = hashlib.sha256(torch.__version__.encode())
    for path in files:
        digest.update(path.relative_to(rooms).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class SnapshotClock:
    """Timer of snapshots: rare enough that writing them takes SNAPSHOT_SHARE of the time at most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.perf_counter() + seconds
        self._asked = 0.0

    def due(self) -> bool:
        self._asked = time.perf_counter()
        return self._asked >= self._next

    def restart(self) -> None:
        """Set the next time; call this when the snapshot that was due is written."""
        now = time.perf_counter()
        self._next = now + max(self._seconds, (now - self._asked) / SNAPSHOT_SHARE)
