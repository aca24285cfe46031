"""What phones, browsers and Windows record (m4a, 3gp, webm, wma, aac, amr), decoded by PyAV where it is installed.

soundfile comes first for all that it reads. FFmpeg's own rules hold here: what an encoder put before and behind the
recording (priming, padding) is removed as the container tells, and nothing is resampled or mixed. PyAV is one wheel
with FFmpeg within: https://pyav.basswood-io.com.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Generator, Iterator
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from downstream.data.container_findings import AGAIN
from upstream.errors import UserError
from upstream.foreign import foreign_code

INSTALL = "pip install av"
FILMS = (".mp4", ".mov", ".mkv")  # whose sound is decoded
COMPRESSED_SUFFIXES = (".m4a", ".m4b", ".aac", ".3gp", ".3g2", ".amr", ".awb", ".wma", ".webm", ".mka", *FILMS)
# Full scale, by FFmpeg's name of a sample.
SCALES = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "s64": 2**63, "flt": 1, "dbl": 1}
MP4 = "mov"  # FFmpeg's name of MP4 and its like begins so
ESTIMATED = ("aac", "amr")  # FFmpeg's names of containers that tell no length; it guesses one
TOLERANCE = 0.1  # seconds by which a container may announce more than there is, and the share of them by which
DRIFT = 0.01  # a phone's clock, which gives the times in some, may run ahead of its sound
MICROSECONDS = 1_000_000  # a second, in which FFmpeg gives a container's length


def is_decodable() -> bool:
    """Return True where PyAV is installed."""
    return importlib.util.find_spec("av") is not None


class CompressedSound:
    """The sound in one encoded recording; of soundfile.SoundFile, whose place it takes, it has what is used here.

    samplerate: in Hz. channels: their number.
    """

    def __init__(self, name: str, stream: BinaryIO, frames: int | None = None) -> None:
        """Decode its first block.

        name: for messages. frames: the number of samples in each channel, if that is known.
        Raises UserError if there is no sound in it, more than one, or it cannot be decoded.
        """
        self._name, self._stream, self._frames = name, stream, frames
        self._begin()

    def __enter__(self) -> CompressedSound:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._blocks.close()

    @property
    def frames(self) -> int:
        """The number of samples in each channel; all are decoded to count them, since containers round it.

        Raises UserError if they cannot be decoded, or if there are fewer than announced.
        """
        if self._frames is None:
            self._frames = len(self._left) + sum(len(block.samples) for block in self._blocks)
            self._begin()
        return self._frames

    def seek(self, frames: int) -> int:
        """Go to a sample, by decoding all before it: a decoder that begins in the middle gives others."""
        if self._place:
            self._begin()
        for _ in self._parts(frames):
            pass
        return frames

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> NDArray[np.float32]:
        """The next samples, (S, C) float32 in [-1, 1]; fewer where fewer are left. Raises UserError as `frames`."""
        assert dtype == "float32", dtype
        assert always_2d
        parts = list(self._parts(frames))
        return np.concatenate(parts) if parts else self._left[:0]

    def _begin(self) -> None:
        """Decode the first block."""
        self._blocks = blocks(self._name, self._stream)
        self._left, self.samplerate = next(self._blocks)
        self.channels, self._place = self._left.shape[1], 0

    def _parts(self, count: int) -> Iterator[NDArray[np.float32]]:
        """Yield the next `count` samples, in parts."""
        while count > 0 and len(self._left):
            part, self._left = self._left[:count], self._left[count:]
            count, self._place = count - len(part), self._place + len(part)
            yield part
            if not len(self._left):
                self._left = next((block.samples for block in self._blocks), self._left)


class Block(NamedTuple):
    """Samples as a decoder gives them, (S, C) float32, and how many there are in a second."""

    samples: NDArray[np.float32]
    rate: int


def blocks(name: str, stream: BinaryIO) -> Generator[Block]:
    """Decode a recording from its beginning to its end, in one thread; yield at least one block.

    Raises UserError for what is no sound, is damaged, changes its format, or ends before it should.
    """
    with foreign_code("Importing PyAV", f"Install it again: `{INSTALL}`."):
        import av
    stream.seek(0)
    count, rate, channels = 0, 0, 0
    try:
        with av.open(stream, metadata_errors="ignore") as container:
            track = only_track(container, name)
            announced = announced_seconds(container, track)
            for frame, following in pairwise(chain(frames_of(container, track, name), [None])):
                samples = samples_of(frame)
                if following is None and container.format.name.startswith(MP4):
                    samples = played(frame, samples, announced, count)
                if not len(samples):
                    continue
                if count and (frame.sample_rate, samples.shape[1]) != (rate, channels):
                    raise UserError(
                        f"{name} changes its sampling rate or its channels within. Convert it: `{conversion(name)}`."
                    )
                rate, channels = frame.sample_rate, samples.shape[1]
                count += len(samples)
                yield Block(samples, rate)
    except av.FFmpegError as error:
        raise UserError(f"{name} is damaged, or no audio that FFmpeg can decode ({error.strerror}). {AGAIN}") from error
    if not count:
        raise UserError(f"{name} holds no samples; replace the file or leave it out.")
    if count < ((1 - DRIFT) * announced - TOLERANCE) * rate:
        raise UserError(
            f"{name} is cut short or damaged: it announces {announced:.3f} s and holds {count / rate:.3f} s. {AGAIN}"
        )


def frames_of(container: Any, track: Any, name: str) -> Iterator[Any]:
    """Yield the decoded frames of a track; raise UserError for a packet of which FFmpeg says that it is not whole."""
    track.codec_context.thread_count = 1
    for packet in container.demux(track):
        if packet.is_corrupt:
            raise UserError(f"{name} is cut short or damaged: a part of its sound is not whole. {AGAIN}")
        yield from packet.decode()


def played(frame: Any, samples: NDArray[np.float32], announced: float, before: int) -> NDArray[np.float32]:
    """Return the samples of the last frame of an MP4 without what its encoder put there to fill it.

    The frame has a shorter duration then, or the whole has, which is that of the edit list. The command ffmpeg goes by
    both for AAC; the libraries of version 8 leave it to who uses them. Other containers round durations.
    announced: seconds of the whole, 0 if unknown. before: the samples in the frames before.
    """
    if frame.duration and frame.time_base:
        samples = samples[: round(frame.duration * frame.time_base * frame.sample_rate)]
    rest = round(announced * frame.sample_rate) - before
    return samples[:rest] if rest > 0 else samples


def only_track(container: Any, name: str) -> Any:
    """Return the audio stream of a container; of several the one that its writer marked as the default.

    Raises UserError if there is none, more than one could be meant, or FFmpeg has no decoder for it.
    """
    tracks = list(container.streams.audio)
    marked = [track for track in tracks if track.disposition & type(track.disposition).default]
    if len(tracks) > 1 and len(marked) == 1:
        tracks = marked
    if len(tracks) != 1:
        why = f"has {len(tracks)} tracks of sound, and nobody said which is meant" if tracks else "has no sound in it"
        fix = f"Take one: `{conversion(name, '-map 0:a:0 ')}`." if tracks else "Leave it out."
        raise UserError(f"{name} {why}. {fix}")
    if tracks[0].codec_context is None:
        raise UserError(f"{name} is encoded so that FFmpeg cannot decode it. Convert it where it was recorded.")
    return tracks[0]


def announced_seconds(container: Any, track: Any) -> float:
    """Return how long a container says that its sound is; 0 where it says nothing, or not of the sound alone."""
    if container.format.name in ESTIMATED:
        return 0.0
    if track.duration is not None:
        return float(track.duration * track.time_base)
    is_alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / MICROSECONDS if is_alone else 0.0


def samples_of(frame: Any) -> NDArray[np.float32]:
    """The samples of a frame, (S, C) float32 in [-1, 1], whatever their format and order."""
    samples = frame.to_ndarray()  # (C, S) if planar, else (1, S * C)
    interleaved = samples.T if frame.format.is_planar else samples.reshape(-1, len(frame.layout.channels))
    kind = frame.format.name.removesuffix("p")
    if kind == "u8":
        interleaved = interleaved.astype(np.float32) - SCALES[kind]
    return np.ascontiguousarray(interleaved, dtype=np.float32) / np.float32(SCALES[kind])


def conversion(name: str, options: str = "") -> str:
    """The command that writes a recording as WAV."""
    return f"ffmpeg -i {shlex.quote(name)} {options}{shlex.quote(str(Path(name).with_suffix('.wav')))}"
