"""Recordings as they lie on a disk or a hub: what is known of one without decoding it, and opening it to decode it."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from downstream.data.compressed_containers import kind_of
from downstream.data.compressed_sound import CompressedSound, is_decodable
from downstream.data.containers import HEAD_BYTES, examine
from downstream.data.not_audio import CONVERT, no_audio
from upstream.errors import UserError
from upstream.files import require_regular_file
from upstream.text import printable

# A file system's clock ticks, and two changes within one tick look alike: a file that was changed less than so many
# nanoseconds before it was read may have been changed again since (git calls such an entry "racily clean").
UNSETTLED = 2_000_000_000
# Containers, as soundfile calls them, of which `examine` can tell whether all is there. libsndfile reads the part that
# is there of others too (MATLAB's, IRCAM's, those of samplers), and half of a recording would be scored.
CONTAINERS = frozenset(("WAV", "WAVEX", "RF64", "W64", "AIFF", "SVX", "AU", "CAF", "NIST", "VOC", "FLAC", "OGG", "MP3"))
RATES = range(1_000, 1_000_001)  # Hz; a header with another sampling rate is damaged, and would take any memory


class Recording(Protocol):
    """One encoded recording (WAV, FLAC, OGG, SPHERE, MP3 ...), on disk or elsewhere."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def open(self) -> BinaryIO:
        """A seekable stream of the encoded bytes."""


class Sound(Protocol):
    """A recording that is being decoded, as soundfile has it: samplerate in Hz, frames are samples of a channel."""

    @property
    def samplerate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def frames(self) -> int: ...

    def seek(self, frames: int) -> int:
        """Go to a sample, counted from 0."""

    def read(self, frames: int, dtype: str, always_2d: bool) -> NDArray[np.float32]:
        """The next samples, (S, C); fewer where fewer are there."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


class Stamp(NamedTuple):
    """What changes with a file: its size in bytes, and when its content and its entry changed last, in nanoseconds."""

    size: int
    changed: int
    entry_changed: int


@dataclass(frozen=True)
class AudioFile:
    """A recording in a file on disk."""

    path: Path

    @property
    def name(self) -> str:
        return printable(str(self.path))

    def open(self) -> BinaryIO:
        try:
            require_regular_file(self.path)
            return self.path.open("rb")
        except OSError as error:
            raise UserError(
                f"Cannot read the recording {self.name}: {error.strerror}. Check --data and the manifest."
            ) from error
        except UserError as error:
            raise UserError(f"Cannot read the recording: {error}") from error

    def stamp(self) -> Stamp | None:
        """Return its stamp; None if it is not there."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True)
class RecordingInfo:
    """What is known of a recording without decoding it.

    digest: of its encoded bytes. seconds: its duration. rate: samples a second, in Hz.
    is_patched: its header does not tell its length, and it is decoded with another that does.
    stamp: of the file when it was read; None for what is no file.
    is_settled: the file had not been changed for long enough that its stamp tells any change.
    """

    digest: str
    seconds: float
    channels: int
    rate: int
    is_patched: bool = False
    stamp: Stamp | None = None
    is_settled: bool = True


def inspect(recording: Recording) -> RecordingInfo:
    """Read all of a recording, and return what is known of it.

    Raises UserError if it is not audio, if less of it is there than its container announces, which libsndfile would
    accept, and if it changes meanwhile.
    """
    began = time.time_ns()
    stamp = recording.stamp() if isinstance(recording, AudioFile) else None
    with recording.open() as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary stream will do
        source, is_patched = told_length(recording, stream)
        with opened(recording, source) as sound:
            seconds, channels, rate = float(sound.frames / sound.samplerate), sound.channels, sound.samplerate
    is_settled = stamp is None or max(stamp.changed, stamp.entry_changed) + UNSETTLED < began
    info = RecordingInfo(digest, seconds, channels, rate, is_patched, stamp, is_settled)
    refuse_changed(recording, info)
    return info


@contextmanager
def decoder(recording: Recording, info: RecordingInfo | None = None) -> Iterator[Sound]:
    """Open a recording to decode it.

    info: what is known of it. What is decoded is then what was inspected: where the file's stamp would not tell a
        change, its bytes are digested again and decoded from memory.
    Raises UserError as `inspect` does, and for a file that has changed since it was inspected.
    """
    with recording.open() as stream:
        if info is None:
            source, _ = told_length(recording, stream)
        elif info.is_settled and not info.is_patched:
            source = stream
        else:
            content = stream.read()
            if hashlib.sha256(content).hexdigest() != info.digest:
                raise changed(recording)
            source, _ = told_length(recording, io.BytesIO(content))
        refuse_changed(recording, info)
        with opened(recording, source, info) as sound:
            try:
                yield sound
            finally:  # also where it could not be decoded: that may be why
                refuse_changed(recording, info)


def told_length(recording: Recording, stream: BinaryIO) -> tuple[BinaryIO, bool]:
    """Return a stream of the recording with its length in its header, and whether it had to be written there.

    libsndfile finds many lengths that are not told; for these nothing is written.
    Raises UserError if the recording is not whole.
    """
    findings = examine(stream)
    if findings.fault:
        raise UserError(f"{recording.name} {findings.fault}")
    if not findings.patches:
        return stream, False
    stream.seek(0)
    patched = io.BytesIO(findings.patched(stream.read()))
    return (stream, False) if length(stream) == length(patched) else (patched, True)


def length(stream: BinaryIO) -> int | None:
    """Return the number of samples that libsndfile finds; None where it cannot open the recording."""
    stream.seek(0)
    try:
        with soundfile.SoundFile(descriptor(stream), closefd=False) as sound:
            return int(sound.frames)
    except soundfile.SoundFileError:
        return None


def refuse_changed(recording: Recording, info: RecordingInfo | None) -> None:
    """Raise UserError if a file is no longer the one that was inspected."""
    if info is not None and isinstance(recording, AudioFile) and recording.stamp() != info.stamp:
        raise changed(recording)


def changed(recording: Recording) -> UserError:
    """The error for a recording that is not what it was when its digest was taken."""
    return UserError(
        f"{recording.name} has changed since this run began to read it: it may still be copied or written. Wait until "
        "that has ended, and run the same command again; what was computed of other recordings is kept."
    )


def opened(recording: Recording, stream: BinaryIO, info: RecordingInfo | None = None) -> Sound:
    """Open encoded bytes; raise UserError if they cannot be decoded. info: what is known of the recording.

    libsndfile reads a file itself, by its descriptor, whatever the file's name. It reads other streams through Python,
    8 KB at a time: decoding threads, and the upstream, would then wait for the interpreter's lock.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    sound: Sound
    try:
        sound = of_soundfile(recording.name, stream)
    except soundfile.SoundFileError as error:
        if kind_of(head) is None or not is_decodable():
            raise no_audio(recording.name, head, error) from error
        stream.seek(0, os.SEEK_END)  # libsndfile has moved the descriptor, unnoticed by the stream's buffer
        sound = CompressedSound(recording.name, stream, None if info is None else round(info.seconds * info.rate))
    if sound.samplerate not in RATES:
        raise UserError(
            f"{recording.name} says that it has {sound.samplerate:,} samples a second, which no recording of speech "
            "has; its header is damaged. Export it again, or leave it out."
        )
    return sound


def of_soundfile(name: str, stream: BinaryIO) -> soundfile.SoundFile:
    """Open what libsndfile reads; raise UserError if nobody could tell whether it is whole."""
    sound = soundfile.SoundFile(descriptor(stream), closefd=False)
    if sound.format in CONTAINERS:
        return sound
    raise UserError(
        f"{name} is in a container ({sound.format_info}) of which nobody could tell whether it is whole. {CONVERT}"
    )


def descriptor(stream: BinaryIO) -> int | BinaryIO:
    """The descriptor of an open file, at its beginning, where a C library can use it; otherwise the bytes."""
    if not isinstance(stream, io.BufferedReader):
        return stream
    if os.name != "posix":
        return io.BytesIO(stream.read())
    os.lseek(stream.fileno(), 0, os.SEEK_SET)
    return stream.fileno()
