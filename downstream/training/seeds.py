"""Seeds for different purposes, derived from one."""

from __future__ import annotations

import hashlib


def derived(seed: int, purpose: str) -> int:
    """Return a seed for one purpose, 0 to 2^63 - 1, independent of those for others."""
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
