"""The user, whom the system need not know: `docker run -u 1234` has no entry in passwd, and often no HOME."""

from __future__ import annotations

import getpass
import os
from pathlib import Path


def introduce_user() -> None:
    """Give a user without a name one, and a home in the working directory to one without.

    PyTorch's optimisers and transformers ask for the name, the hub's client for the home, and fail without.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # from Python 3.13 on an OSError
        os.environ["LOGNAME"] = f"user{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.getcwd()


def cache_folder() -> Path:
    """Return the user's folder for caches; below the working directory for a user without a home."""
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(".cache")
