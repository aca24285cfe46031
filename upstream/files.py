"""Files that this project leaves on the user's disk: their default folder, and atomic writing."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from pathlib import Path

from upstream.errors import UserError

DEFAULT_STORE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wavprobe"
STATES = "states"  # subfolder of the store that holds hidden states
UNFINISHED = ".writing-"  # prefix of the names of files that are still being written


def write_atomically(path: Path, *contents: bytes) -> None:
    """Write `contents` one after another; if the machine stops, `path` is either complete or unchanged.

    Raises UserError where the file cannot be written.
    """
    temporary = path.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as stream:
            for content in contents:
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        fix = "Free some space or choose another folder (--store, --results)."
        if isinstance(error, FileNotFoundError):
            fix = "Its folder was removed in the meantime; run the same command again."
        raise UserError(f"Cannot write {path}: {error.strerror}. {fix}") from error


def is_read_only(error: BaseException | None) -> bool:
    """Return True if writing failed because of permissions or a read-only mount."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
