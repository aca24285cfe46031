"""What was found of recordings, kept between runs, so that the next one does not read every byte of its corpus again.

A file is known by its path, its size and its times of change; what was found of it is believed as long as these are the
same. A file that had been changed within two seconds before it was read is not kept, since it may have changed again
without another time (as git does with its index).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from downstream.data.recordings import AudioFile, RecordingInfo, Stamp
from upstream.text import printable

logger = logging.getLogger("wavprobe")

VERSION = 1  # of the tables, and of how recordings are inspected: what another version wrote is made again
TABLES = """
CREATE TABLE recordings (path BLOB PRIMARY KEY, size INTEGER, changed INTEGER, entry_changed INTEGER,
    digest TEXT, seconds REAL, channels INTEGER, rate INTEGER, is_patched INTEGER, checksum INTEGER) WITHOUT ROWID;
CREATE TABLE lengths (digest TEXT PRIMARY KEY, seconds REAL, checksum INTEGER) WITHOUT ROWID;
"""
FIND_RECORDINGS = "SELECT * FROM recordings WHERE path BETWEEN ? AND ?"  # a tenth of the time of one by one
FIND_LENGTH = "SELECT * FROM lengths WHERE digest = ?"
KEEP_RECORDING = "INSERT OR REPLACE INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
KEEP_LENGTH = "INSERT OR REPLACE INTO lengths VALUES (?, ?, ?)"
UNUSABLE = (sqlite3.Error, UnicodeError)  # what a damaged file, or one that may not be used, raises
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last for absent tables

SAVE_SECONDS = 30.0  # between two writes of what was found: as much is lost when the machine stops
WAIT_SECONDS = 20.0  # for another process that is writing

Row = tuple[Any, ...]


class InspectionCache:
    """What was found of recordings, in one file; used by one thread.

    Whatever is wrong with that file costs time and no run: it is made again where it is damaged, read alone where it
    cannot be written, and done without where neither is possible.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[Row] = []
        self._lengths: list[Row] = []
        self._saved = time.monotonic()
        self._connection = self._connected() if path.exists() else in_memory()

    def __enter__(self) -> InspectionCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._save()
        self._connection.close()

    def recordings(self, files: Sequence[AudioFile], stamps: Sequence[Stamp | None]) -> list[RecordingInfo | None]:
        """Return what is known of each file, None where nothing is or the file has another stamp now."""
        keys = [key(file) for file in files]
        rows = {row[0]: row for row in self._rows(FIND_RECORDINGS, min(keys), max(keys))} if keys else {}
        return [info_of(rows.get(key), stamp) for key, stamp in zip(keys, stamps, strict=True)]

    def lengths(self, digests: Iterable[str]) -> dict[str, float]:
        """Return the seconds of cuts without their silence, as far as they are known, by the digest of the cut."""
        return dict(row for digest in digests for row in self._rows(FIND_LENGTH, digest))

    def keep(self, file: AudioFile, info: RecordingInfo) -> None:
        """Keep what was found of a file, unless it has just been changed."""
        if info.stamp is not None and info.is_settled:
            found = (info.digest, info.seconds, info.channels, info.rate, int(info.is_patched))
            self._found.append(with_checksum((key(file), *info.stamp, *found)))
        self._save_sometimes()

    def keep_length(self, digest: str, seconds: float) -> None:
        """Keep the seconds of a cut without its silence."""
        self._lengths.append(with_checksum((digest, seconds)))
        self._save_sometimes()

    def _rows(self, query: str, *values: bytes | str) -> list[Row]:
        """Return the rows that are not damaged, without their checksums."""
        try:
            rows = self._connection.execute(query, values).fetchall()
        except UNUSABLE as error:
            self._connection.close()
            self._connection = self._connected_after(error)
            return []
        return [row[:-1] for row in rows if row == with_checksum(row[:-1])]

    def _save_sometimes(self) -> None:
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        if not self._found and not self._lengths:
            return
        if not self._path.exists():  # until now there was nothing to keep
            self._connection.close()
            self._connection = self._connected()
        try:
            with self._connection:
                self._connection.executemany(KEEP_RECORDING, self._found)
                self._connection.executemany(KEEP_LENGTH, self._lengths)
        except UNUSABLE as error:
            logger.info("what was found of recordings cannot be kept in %s: %s", self._name, error)
        self._found, self._lengths, self._saved = [], [], time.monotonic()

    def _connected(self) -> sqlite3.Connection:
        """Open the file, with empty tables where there are none."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, WAIT_SECONDS)
            if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
                make_tables(connection)
        except OSError as error:
            logger.info("what is found of recordings is not kept: %s", error)
            return in_memory()
        except UNUSABLE as error:
            return self._connected_after(error)
        return connection

    def _connected_after(self, error: Exception) -> sqlite3.Connection:
        """Make the file again where it is damaged; do without it where it cannot be read, or be written."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # none where a text is not UTF-8
        if code & 0xFF in DAMAGED:
            logger.warning("%s is damaged (%s) and is made again: all recordings are read for it", self._name, error)
            with contextlib.suppress(OSError, *UNUSABLE):
                for name in (self._path.name, f"{self._path.name}-journal"):
                    self._path.with_name(name).unlink(missing_ok=True)
                connection = sqlite3.connect(self._path, WAIT_SECONDS)
                make_tables(connection)
                return connection
        logger.info("what is found of recordings is not kept in %s: %s", self._name, error)
        return in_memory()

    @property
    def _name(self) -> str:
        return printable(str(self._path))


def info_of(row: Row | None, stamp: Stamp | None) -> RecordingInfo | None:
    """Return what a row says of a file with this stamp."""
    if row is None or row[1:4] != stamp:
        return None
    digest, seconds, channels, rate, is_patched = row[4:]
    return RecordingInfo(digest, seconds, channels, rate, bool(is_patched), stamp)


def with_checksum(row: Row) -> Row:
    """Return a row with a checksum, since SQLite has none and a disk may change a bit."""
    return (*row, zlib.crc32(repr(row).encode()))


def make_tables(connection: sqlite3.Connection) -> None:
    """Make empty tables in place of those of another version."""
    connection.executescript(
        "BEGIN IMMEDIATE; DROP TABLE IF EXISTS recordings; DROP TABLE IF EXISTS lengths;"
        f"{TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
    )


def in_memory() -> sqlite3.Connection:
    """Return tables that end with the run."""
    connection = sqlite3.connect(":memory:")
    make_tables(connection)
    return connection


def key(file: AudioFile) -> bytes:
    """Return the file's path from the root; names of files are bytes."""
    path = os.fspath(file.path)
    return os.fsencode(path if os.path.isabs(path) else os.path.join(os.getcwd(), path))
