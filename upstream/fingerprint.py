"""Digests of what hidden states depend on: tensors, settings, files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor


def fingerprint_tensors(tensors: Mapping[str, Tensor], extra: Mapping[str, object]) -> str:
    """Return the hexadecimal SHA-256 of named tensors and settings.

    tensors: any shapes and dtypes, on any device. Hashed as name, dtype, shape and raw bytes, sorted by name; neither
        the order of the mapping nor the device matters.
    extra: settings, hashed as JSON with sorted keys.

    Raises TypeError if `extra` cannot be written as JSON.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    digest.update(json.dumps(extra, sort_keys=True).encode())
    return digest.hexdigest()


def fingerprint_files(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or of the concatenated hexadecimal digests of several files in order."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
