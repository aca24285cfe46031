"""What is still being written, and what killed processes left of it.

A file or folder has a name of its own until it is complete, and its process holds a lock on it. The system releases
the lock however the process ends, so that what nobody holds is a leftover, which the next run removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, which does not remove a file that is open
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".writing-"  # prefix of the names of files and folders that are still being written

SETTLED_AFTER = 1.0  # seconds; between making a file and locking it pass microseconds
ABANDONED_AFTER = 3600.0  # seconds without a change, on a disk without locks


@contextlib.contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for what is moved to its place when it is complete; it is removed at the end."""
    folder = unfinished_name(parent)
    folder.mkdir()
    try:
        with opened(folder) as descriptor:
            lock(descriptor)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unfinished_name(parent: Path) -> Path:
    """Return a new name for what is still being written."""
    return parent / f"{UNFINISHED}{uuid.uuid4().hex}"


# ---------------------------------------------------------------- leftovers


def leftovers(folder: Path, pattern: str = "") -> list[Path]:
    """Return what killed or interrupted processes left unfinished in a folder; nothing that a process still writes.

    pattern: of the folders below it to look in, such as "*/"; none for the folder itself.
    """
    return [path for path in sorted(folder.glob(f"{pattern}{UNFINISHED}*")) if is_abandoned(path)]


def remove_leftovers(folder: Path, pattern: str = "") -> None:
    """Remove the leftovers in a folder, as far as that is permitted."""
    for path in leftovers(folder, pattern):
        with contextlib.suppress(OSError):
            remove_leftover(path)


def remove_leftover(path: Path) -> None:
    """Remove a file or a folder, if it is still there."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_abandoned(path: Path) -> bool:
    """Return True if no process writes this file or folder any more; False also where that cannot be told."""
    try:
        with opened(path) as descriptor:
            return time.time() - os.fstat(descriptor).st_mtime > SETTLED_AFTER and lock(descriptor)
    except OSError:  # removed in the meantime, or somebody else's
        return False


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a file or a folder for its lock."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold a folder; False where another process holds it. Where folders have no locks nobody is kept out."""
    with contextlib.ExitStack() as until_the_end:
        yield fcntl is None or not held_by_another(until_the_end.enter_context(opened(folder)))


@contextlib.contextmanager
def lock_kept(descriptor: int) -> Iterator[None]:
    """Lock an open file, also beyond its closing."""
    kept = os.dup(descriptor)
    try:
        lock(kept)
        yield
    finally:
        os.close(kept)


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; return False where another process holds it.

    On a disk without locks, what was changed a short while ago is taken to be held.
    """
    is_held = held_by_another(descriptor)
    return time.time() - os.fstat(descriptor).st_mtime > ABANDONED_AFTER if is_held is None else not is_held


def held_by_another(descriptor: int) -> bool | None:
    """Lock an open file or folder until it is closed; return True where another process holds it, None on a disk
    without locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
