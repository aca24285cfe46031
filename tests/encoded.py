"""Recordings as phones and browsers make them, encoded by PyAV."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

RATE = 16_000

# The codec of each kind of file, by its suffix.
CODECS = {
    "m4a": "aac",
    "mp4": "aac",
    "3gp": "aac",
    "aac": "aac",
    "mka": "aac",
    "webm": "libopus",
    "wma": "wmav2",
    "amr": "libopencore_amrnb",
}

FORMATS = {"m4a": "ipod", "aac": "adts", "mka": "matroska", "wma": "asf"}  # FFmpeg's name, where it is no suffix


def speech(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A chirp in noise, whose parts differ, (S,) float32; below the 3.4 kHz that a telephone hears."""
    time = np.arange(int(rate * seconds)) / rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * (300 + 400 * time) * time) + 0.003 * noise).astype(np.float32)


def encode(
    path: Path,
    samples: np.ndarray | Sequence[np.ndarray],
    codec: str | None = None,
    rate: int = RATE,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write samples, (S,) or (S, C) of int16 or float32, or several of them as tracks; return the path.

    codec: by default that of the suffix. options: of the container's writer.
    """
    mux(str(path), path.suffix[1:], samples, codec, rate, options)
    return path


def piped(suffix: str, samples: np.ndarray, options: Mapping[str, str] | None = None) -> bytes:
    """The content of a file whose writer could not go back in it, as those of browsers."""
    pipe = Pipe()
    mux(pipe, suffix, samples, None, RATE, options)
    return b"".join(pipe.written)


def mux(
    to: str | io.IOBase,
    suffix: str,
    samples: np.ndarray | Sequence[np.ndarray],
    codec: str | None,
    rate: int,
    options: Mapping[str, str] | None,
) -> None:
    """Encode into a file or a stream; the test is skipped where PyAV has no encoder for it."""
    codec = codec or CODECS[suffix]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV does not encode {codec}")
    tracks = [samples] if isinstance(samples, np.ndarray) else samples
    with av.open(to, "w", format=FORMATS.get(suffix, suffix), options=dict(options or {})) as container:
        streams = [container.add_stream(codec, rate=rate, layout=layout_of(track)) for track in tracks]
        for track, stream in zip(tracks, streams, strict=True):
            if codec.startswith("wma"):
                stream.bit_rate = 64_000
            kind = {"int16": "s16", "float32": "flt"}[track.dtype.name]
            frame = av.AudioFrame.from_ndarray(track.reshape(1, -1), format=kind, layout=layout_of(track))
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            container.mux([*stream.encode(frame), *stream.encode(None)])


def layout_of(samples: np.ndarray) -> str:
    """FFmpeg's name of the channels of (S,) or (S, 2)."""
    return "mono" if samples.ndim == 1 else "stereo"


class Pipe(io.RawIOBase):
    """What a writer cannot go back in, as browsers write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content) -> int:  # type: ignore[no-untyped-def]
        self.written.append(bytes(content))
        return len(self.written[-1])
