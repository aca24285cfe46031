"""Snapshots from which an interrupted training resumes, bit for bit."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from upstream.files import write_atomically

logger = logging.getLogger("wavprobe")

FACTS = "facts"  # the name of the tensor that holds them as JSON
DIGEST_BYTES = 32


def write_snapshot(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts (JSON values) atomically: `path` has all of them, or what it had before."""
    written = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()} | {FACTS: written})
    write_atomically(path, hashlib.sha256(content).digest(), content)


def read_snapshot(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what `write_snapshot` wrote; None where there is no file, and with a warning where it is damaged."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        digest, content = stream.read(DIGEST_BYTES), stream.read()
    if hashlib.sha256(content).digest() != digest:
        logger.warning("%s is damaged; the training starts from the beginning", path)
        return None
    tensors = load(content)
    return tensors, json.loads(tensors.pop(FACTS).numpy().tobytes())
