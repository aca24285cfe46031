"""The processor of this machine, by the name that its maker gave it."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """Return the model name of the processor, or else its architecture."""
    return described_by_linux().get("model name") or platform.processor() or platform.machine()


def described_by_linux() -> dict[str, str]:
    """Return what Linux tells of the first processor: "model name", "stepping", …; nothing on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    fields = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in fields}
