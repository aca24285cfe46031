"""Files this project leaves on the user's disk: where by default, and how they are written."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from pathlib import Path

from upstream.errors import MendableError

DEFAULT_STORE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wavprobe"
STATES = "states"  # the folder of hidden states in it, beside what else is kept between runs
UNFINISHED = ".writing-"  # how the name of a file begins that is being written


def write_atomically(path: Path, *contents: bytes) -> None:
    """Write `contents`, one after another, so that `path` holds all or what it held before, even if the machine stops.

    Raises MendableError where it cannot be written.
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
        mend = "Free some space or choose another folder (--store, --results)."
        if isinstance(error, FileNotFoundError):
            mend = "Something removed its folder meanwhile; run the same command again."
        raise MendableError(f"Cannot write {path}: {error.strerror}. {mend}") from error


def is_for_reading_only(error: BaseException | None) -> bool:
    """Whether the system refused to write because one may only read there, by permission or by mount."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
