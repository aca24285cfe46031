"""Recordings in the rows of a table: encoded bytes, or samples, in memory or read from the row when they are decoded.

Samples are put into a WAV as they are, so that they are digested, cut and decoded as the same samples in a file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from downstream.data.recordings import RATES
from upstream.errors import UserError
from upstream.foreign import foreign_code

FORMS = (
    "a path, bytes of a file, {'path': …, 'bytes': …}, {'array': …, 'sampling_rate': …}, or an array or tensor beside "
    "a column sampling_rate"
)
MOST_CHANNELS = 64  # the axis of channels is the shorter one, and recordings have no more
KINDS = {"float32": 3, "int16": 1}  # of the samples that a WAV here has, and WAVE's number of each
LONGEST = 2**32 - 2**16  # bytes, which a WAV's header can tell


@dataclass(frozen=True, eq=False)
class BytesAudio:
    """An encoded recording in memory, which has the digest of a file with these bytes."""

    content: bytes
    name: str

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


@dataclass(frozen=True, eq=False)
class ArrayAudio:
    """Samples in memory, (S, C) of float32 or int16; rate: how many there are in a second."""

    samples: NDArray[Any]
    rate: int
    name: str

    def open(self) -> BinaryIO:
        return io.BytesIO(wav(self.samples, self.rate))


@dataclass(frozen=True, eq=False)
class RowAudio:
    """A recording in a row of a datasets.Dataset; the row is read when it is opened.

    rows: the dataset, of whose column `column` the cells are as `memory_audio` takes them.
    fix: what to do where the row cannot be read, a sentence. path: the file's name, where the row has one.
    rate: of samples that do not tell it, in Hz. samples: the type of those that the row has as a list, "int16".
    """

    rows: Any
    index: int
    column: str
    name: str
    fix: str = "Load the dataset again."
    path: str | None = None
    rate: object = None
    samples: str | None = None

    def open(self) -> BinaryIO:
        with foreign_code(f"Reading {self.name}", self.fix):
            cell = self.rows[self.index][self.column]
        if isinstance(cell, Mapping) and is_reference(cell):
            raise UserError(f"{self.name} holds a reference to a file and no audio. {self.fix}")
        return memory_audio(cell, self.rate, self.name, self.name, self.samples).open()


def is_reference(cell: Mapping[str, object]) -> bool:
    """Return True for a recording as datasets has it, {"path": …, "bytes": None}, that is not here but in its file."""
    return cell.get("bytes") is None and cell.get("array") is None


def memory_audio(cell: object, rate: object, name: str, where: str, kind: str | None = None) -> BytesAudio | ArrayAudio:
    """Return a recording that is in memory.

    cell: bytes of a file, samples ((S,), (C, S) or (S, C), of numpy, torch or a list), or a dict of `bytes`, or of
        `array` and `sampling_rate`. rate: of samples that do not tell it, in Hz. name, where: of it, in messages.
    kind: the type of samples in a list; None as numpy finds it.
    Raises UserError for anything else.
    """
    if isinstance(cell, Mapping):
        if cell.get("array") is not None:
            rate, cell = cell.get("sampling_rate", rate), cell["array"]
        elif cell.get("bytes") is not None:
            cell = cell["bytes"]
    if isinstance(cell, io.BytesIO):
        cell = cell.getvalue()
    if isinstance(cell, bytes | bytearray | memoryview):
        return BytesAudio(bytes(cell), name)
    return ArrayAudio(samples_of(cell, where, kind), rate_of(rate, where), name)


def samples_of(cell: object, where: str, kind: str | None = None) -> NDArray[Any]:
    """Return samples as (S, C) of float32 or int16; raise UserError for what has another form or scale."""
    if hasattr(cell, "detach") and hasattr(
        cell, "is_floating_point"
    ):  # a tensor, perhaps on a GPU, or of a precision that numpy has not
        tensor = cell.detach().cpu()
        cell = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if not isinstance(cell, np.ndarray | list | tuple):
        raise UserError(f"{where}: the audio is a {type(cell).__name__}; give {FORMS}.")
    try:
        samples = np.asarray(cell, kind)
    except ValueError as error:
        raise UserError(f"{where}: the audio is a list of lists of several lengths; give one array.") from error
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32, copy=False)
    if samples.size and samples.dtype.name not in KINDS:
        raise UserError(
            f"{where}: the samples are {samples.dtype.name}, of which the scale is not known; give floats in [-1, 1], "
            "or int16."
        )
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    channels = samples.shape[1] if samples.ndim == 2 else 1
    if samples.ndim not in (1, 2) or channels > MOST_CHANNELS:
        raise UserError(
            f"{where}: the audio has shape {samples.shape}; give samples, (S,), or several channels, (C, S)."
        )
    if not samples.size:
        raise UserError(f"{where}: the audio is empty; give its samples, or remove the row.")
    return samples.reshape(-1, channels)


def rate_of(cell: Any, where: str) -> int:
    """Return a sampling rate in Hz; raise UserError for what is none."""
    if cell is None:
        raise UserError(
            f"{where}: the samples have no sampling rate; add a column sampling_rate, or give "
            "{'array': …, 'sampling_rate': …}."
        )
    if cell not in RATES:
        raise UserError(f"{where}: the sampling_rate is {cell!r}; write a whole number of samples a second.")
    return int(cell)


def wav(samples: NDArray[Any], rate: int) -> bytes:
    """Return samples, (S, C) of float32 or int16, as a WAV; of int16 as soundfile writes it, byte for byte."""
    body = samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()
    if len(body) > LONGEST:
        raise UserError(f"An array of {len(body) / 2**30:.1f} GB is too long for one recording; write it into a file.")
    width, channels = samples.itemsize, samples.shape[1]
    kind = KINDS[samples.dtype.name]
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body))
    return b"RIFF" + struct.pack("<I", len(chunks) + len(body)) + chunks + body
