"""Audio from bytes to waveform: decode, cut, mix down, resample, check."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from downstream.effects import Effects
from upstream.base import SAMPLE_RATE
from upstream.encode import Audio
from upstream.errors import MendableError

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

# Raised whenever the same file would give other samples, so that stored states are not mistaken for new ones.
DECODING_VERSION = 1

READERS = min(8, os.cpu_count() or 1)  # threads that look at recordings before anything is extracted

NO_EFFECTS = Effects()

# Seconds by which a cut may reach beyond its recording: manifests round.
CUT_TOLERANCE = 0.1
# Bytes that a WAV file may lack of what its header announces: some writers count a padding byte or a chunk too many.
RIFF_TOLERANCE = 1024
RIFF_UNKNOWN = (0, 0xFFFFFFFF)  # what writers to a pipe announce


class AudioSource(Protocol):
    """Something that holds one recording in an encoded form (WAV, FLAC, OGG, SPHERE, MP3 ...)."""

    @property
    def name(self) -> str:
        """What to call it in a message."""

    def open(self) -> BinaryIO:
        """A stream of the encoded bytes that can be sought in."""


@dataclass(frozen=True)
class AudioFile:
    """A recording in a file on disk."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise MendableError(
                f"Cannot read the recording {self.path}: {error.strerror}. Check --data and the manifest."
            ) from error


@dataclass(frozen=True)
class Recording:
    """What there is to know of a recording without decoding it: digest of its bytes, and seconds."""

    digest: str
    seconds: float


@dataclass(frozen=True)
class Segment:
    """What part of which recording an utterance is, and what is done to it.

    start, duration: seconds; None means from the beginning, to the end.
    effects: applied to the part, at 16 kHz.
    """

    source: AudioSource
    start: float | None = None
    duration: float | None = None
    effects: Effects = NO_EFFECTS

    def digest(self, recording: Recording | None = None) -> str:
        """Digest of the encoded bytes, the cut and the way of decoding: the audio's half of a key in the store."""
        whole = recording or inspect(self.source)
        end = "end" if self.duration is None else f"{self.duration:.6f}"
        key = f"{whole.digest}|{self.start or 0.0:.6f}|{end}|decoding {DECODING_VERSION}"
        if self.effects != NO_EFFECTS:
            key += f"|{self.effects.describe()}"
        return hashlib.sha256(key.encode()).hexdigest()

    def seconds(self, recording: Recording | None = None) -> float:
        """Duration in seconds, from the header alone unless silence is removed.

        Raises MendableError where the cut reaches beyond the recording.
        """
        whole = recording or inspect(self.source)
        rest = whole.seconds - (self.start or 0.0)
        if rest <= 0 or (self.duration or 0.0) > rest + CUT_TOLERANCE:
            cut = "its end" if self.duration is None else f"{self.duration:.3f} s later"
            raise MendableError(
                f"{self.source.name} lasts {whole.seconds:.3f} s, but an utterance is to be cut from "
                f"{self.start or 0.0:.3f} s to {cut}; mend the manifest or leave the utterance out."
            )
        if self.effects.silence:
            return len(self.load()) / SAMPLE_RATE
        return rest if self.duration is None else min(self.duration, rest)

    def load(self) -> Tensor:
        """The waveform, (S,) float32 at 16 kHz.

        Integer PCM is scaled to [-1, 1]; several channels are averaged; other rates are resampled by a
        windowed sinc (torchaudio's default: width 6, roll-off 0.99). Clipped and silent recordings pass as
        they are.

        Raises MendableError for a recording that cannot be decoded, is empty, or holds non-finite samples.
        """
        with self.source.open() as stream, open_sound(self.source, stream) as sound:
            rate = sound.samplerate
            first = round((self.start or 0.0) * rate)
            count = -1 if self.duration is None else round(self.duration * rate)
            try:
                sound.seek(min(first, sound.frames))
                samples = sound.read(count, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise undecodable(self.source, error) from error
        if len(samples) == 0:
            raise MendableError(
                f"{self.source.name} holds no samples in the part asked for; replace the file or leave it out."
            )
        waveform = mixed_down(samples)
        if not np.isfinite(waveform).all():
            raise MendableError(f"{self.source.name} holds NaN or infinite samples; export it again or leave it out.")
        processed = self.effects(resample(torch.from_numpy(waveform), rate))
        if len(processed) == 0:
            raise MendableError(f"{self.source.name} is silent: nothing is left of it. Leave it out of the corpus.")
        return processed


@dataclass(frozen=True)
class Window:
    """A window of an utterance's audio; it begins at a place from 0, the earliest, to 1, the latest."""

    audio: Audio
    place: float
    samples: int

    def load(self) -> Tensor:
        """The window, (samples,) float32 at 16 kHz; the whole utterance where it is shorter.

        The first sample is uniform over all places where a window fits, both ends included, as s3prl draws it.
        """
        waveform = self.audio.load()
        spare = len(waveform) - self.samples
        return waveform if spare <= 0 else waveform[min(int(self.place * (spare + 1)), spare) :][: self.samples]


def survey(segments: Iterable[Segment], known: Mapping[str, float] | None = None) -> Iterator[tuple[str, float]]:
    """Digest and seconds of every segment; each recording is read once, however many are cut from it.

    known: seconds by digest, for segments whose length would take decoding.
    """
    segments, found = list(segments), known or {}
    with ThreadPoolExecutor(READERS) as pool:  # reading, hashing and decoding all let go of the interpreter's lock
        recordings = {source: pool.submit(inspect, source) for source in {segment.source: None for segment in segments}}

        def look(segment: Segment) -> tuple[str, float]:
            recording = recordings[segment.source].result()
            digest = segment.digest(recording)
            seconds = found.get(digest) if segment.effects.silence else None
            return digest, segment.seconds(recording) if seconds is None else seconds

        yield from pool.map(look, segments)


def inspect(source: AudioSource) -> Recording:
    """Digest and duration of a recording.

    Raises MendableError where it is no audio, or a WAV file that breaks off, which libsndfile would pass over.
    """
    with source.open() as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary stream will do
        refuse_cut_short(source, stream)
        stream.seek(0)
        with open_sound(source, stream) as sound:
            return Recording(digest, float(sound.frames / sound.samplerate))


def refuse_cut_short(source: AudioSource, stream: BinaryIO) -> None:
    """Raise MendableError for a RIFF file that is shorter than its header says."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    header = stream.read(8)
    announced = int.from_bytes(header[4:8], "little")
    if header[:4] == b"RIFF" and announced not in RIFF_UNKNOWN and size + RIFF_TOLERANCE < announced + 8:
        raise MendableError(
            f"{source.name} is cut short: its header announces {announced + 8} bytes and it has {size}. "
            "Copy or download it again, or leave it out."
        )


def open_sound(source: AudioSource, stream: BinaryIO) -> soundfile.SoundFile:
    """Open an encoded recording; raise MendableError where soundfile cannot.

    libsndfile reads a file on disk by itself. A stream it can only read through Python, 8 KB at a time, and threads
    that decode would wait for each other, and the upstream for them, at the interpreter's lock.
    """
    file = by_path(source.path) if isinstance(source, AudioFile) else stream
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.SoundFileError as error:
        raise undecodable(source, error) from error
    if sound.format == "RAW":  # a file with no header that it knows, taken for samples because of its name
        raise undecodable(source, ValueError("it has no header that libsndfile knows"))
    return sound


def undecodable(source: AudioSource, error: Exception) -> MendableError:
    return MendableError(
        f"{source.name} is not audio that soundfile can decode ({error}). "
        "Replace the file by an intact WAV or FLAC, or leave it out of the corpus."
    )


def by_path(path: Path) -> str | bytes:
    """A path as soundfile takes it: it would refuse names in another encoding than the system's, unless as bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def mixed_down(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over channels, (S, C) -> (S,).

    numpy does in one thread what PyTorch would spread over the cores that the upstream works on, and adding the two
    channels of stereo is seven times as fast as a mean over them, with the same result to the last bit.
    """
    if samples.shape[1] == 1:
        return samples[:, 0]
    if samples.shape[1] == 2:
        mixed = samples[:, 0] + samples[:, 1]
        mixed /= 2
        return mixed
    averaged: NDArray[np.float32] = torch.from_numpy(samples).mean(dim=1).numpy()
    return averaged


def resample(waveform: Tensor, rate: int) -> Tensor:
    """(S,) at `rate` Hz -> (S',) at 16 kHz."""
    if rate == SAMPLE_RATE:
        return waveform
    with ONE_AT_A_TIME:
        to_sixteen_kilohertz = resampler(rate)
    resampled: Tensor = to_sixteen_kilohertz(waveform)
    return resampled


ONE_AT_A_TIME = Lock()  # else all threads that decode would begin with computing the same filter


@lru_cache(maxsize=8)  # rates; the filter of a usual one takes up to 5 MB, of an odd one (22,254 Hz) hundreds
def resampler(rate: int) -> Resample:
    """From `rate` Hz to 16 kHz; its filter, which would take longer to compute than to apply, is computed once.

    In float32 throughout, which gives torchaudio.functional.resample's samples to the last bit.
    """
    from torchaudio.transforms import Resample

    return Resample(rate, SAMPLE_RATE, dtype=torch.float32)
