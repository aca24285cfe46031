"""The version of the harness, by name, without what imports it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def harness_version() -> str:
    """Return the version of the installed package, that of setup.cfg; "0+not-installed" in a bare checkout."""
    try:
        return version("wavprobe")
    except PackageNotFoundError:
        return "0+not-installed"
