"""Files on the user's disk: where this project leaves its own, atomic writing, and reading what others left."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from upstream.errors import UserError
from upstream.text import printable
from upstream.unfinished import lock_kept, unfinished_name
from upstream.user import cache_folder

DEFAULT_STORE = cache_folder() / "wavprobe"
STATES = "states"  # subfolder of the store that holds hidden states


def write_atomically(path: Path, *contents: bytes) -> None:
    """Write `contents` one after another; if the machine stops, `path` is either complete or unchanged.

    Raises UserError where the file cannot be written.
    """
    temporary = unfinished_name(path.parent)
    try:
        with temporary.open("xb") as stream, lock_kept(stream.fileno()):
            for content in contents:
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()  # before it is moved: Windows moves no open file
            temporary.replace(path)
    except OSError as error:
        fix = "Free some space or choose another folder (--store, --results, --to)."
        if isinstance(error, FileNotFoundError):
            fix = "Its folder was removed in the meantime; run the same command again."
        raise UserError(f"Cannot write {path}: {error.strerror}. {fix}") from error
    finally:  # also where it was interrupted
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def named_in_utf8(path: Path) -> Iterator[Path]:
    """Yield a name of a file for libraries that open no other than UTF-8, safetensors among them.

    Raises OSError where the file cannot be opened.
    """
    if printable(str(path)) == str(path):
        yield path
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield Path(f"/dev/fd/{descriptor}")
    finally:
        os.close(descriptor)


def is_read_only(error: BaseException | None) -> bool:
    """Return True if writing failed because of permissions or a read-only mount."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def read_regular_file(path: Path, largest: int) -> bytes:
    """Return the content of a file of at most `largest` bytes.

    Raises UserError if there is no file, if it is something else (a folder, a pipe, a device, a link to nothing), if
    it is larger, and if it cannot be read.
    """
    require_regular_file(path)
    try:
        size = path.stat().st_size
        if size > largest:
            raise UserError(f"{path} has {size:,} bytes, more than the {largest:,} that are read; check what it is.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Check the file and its permissions.") from error


def require_regular_file(path: Path) -> None:
    """Raise UserError with what `path` is, unless it is a file: opening a pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.is_symlink():
            raise UserError(
                f"{path} is a link to {path.readlink()}, where there is nothing; restore that file, or the link."
            ) from error
        raise UserError(f"There is no file {path}; check the path.") from error
    except (OSError, ValueError) as error:  # too long a name, a ring of links, a zero byte in the name
        raise UserError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}. Check the path.") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is {_kind(mode)}, not a file; check the path.")


def _kind(mode: int) -> str:
    for is_kind, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            return name
    return "something else"
