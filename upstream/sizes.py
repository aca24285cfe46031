"""Byte counts: formatting, parsing, free disk space and memory."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from upstream.errors import UserError

LARGEST = 10**21  # bytes, a billion TB
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def readable(size: float) -> str:
    """Format bytes as "57.5 MB": three significant digits, powers of a thousand."""
    for unit, factor in UNITS.items():
        if size < 999.5 * factor or unit == "TB":
            value = size / factor
            return f"{value:,.0f} {unit}" if value >= 999.5 else f"{value:.3g} {unit}"
    raise AssertionError("the last unit always matches")


def parse_size(text: str) -> int:
    """Return the bytes of "50GB", "1.5 TB" or "800000000".

    Raises UserError for text that is not a size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    if found is None:
        raise UserError(f"{text[:60]!r} is not a size; type a number and a unit, for example 50GB or 800MB.")
    number, unit = found.groups()
    size = float(number) * UNITS[unit if unit.endswith("B") else f"{unit}B"]
    if size > LARGEST:
        raise UserError(f"{number[:20]}… {unit} is larger than any disk; type a size such as 50GB.")
    return round(size)


def free_space(path: Path) -> int:
    """Return the free bytes on the disk that holds `path`, or will hold it."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def free_memory() -> int | None:
    """Return the bytes of memory that programs may still take; None on systems that do not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", lines, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
