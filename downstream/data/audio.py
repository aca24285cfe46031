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

from downstream.data.effects import Effects
from upstream.base import SAMPLE_RATE
from upstream.encode import Audio
from upstream.errors import UserError
from upstream.text import printable

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

# Incremented when the same file gives other samples, so that stored states of the old ones are not used.
DECODING_VERSION = 1

READERS = min(8, os.cpu_count() or 1)  # threads that inspect recordings before extraction
AUDIO_SUFFIXES = (".wav", ".flac")  # of the files that corpora are searched for

NO_EFFECTS = Effects()

# Seconds by which a cut may end after its recording: manifests round.
CUT_TOLERANCE = 0.1
# Bytes by which a WAV file may be shorter than its header says: some writers count a padding byte or chunk too many.
RIFF_TOLERANCE = 1024
RIFF_UNKNOWN = (0, 0xFFFFFFFF)  # sizes that writers to a pipe put into the header


class Recording(Protocol):
    """One encoded recording (WAV, FLAC, OGG, SPHERE, MP3 ...), on disk or elsewhere."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def open(self) -> BinaryIO:
        """A seekable stream of the encoded bytes."""


@dataclass(frozen=True)
class AudioFile:
    """A recording in a file on disk."""

    path: Path

    @property
    def name(self) -> str:
        return printable(str(self.path))

    def open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise UserError(
                f"Cannot read the recording {self.path}: {error.strerror}. Check --data and the manifest."
            ) from error


@dataclass(frozen=True)
class RecordingInfo:
    """Digest of a recording's encoded bytes, its duration in seconds and its channels; all without decoding."""

    digest: str
    seconds: float
    channels: int = 1


@dataclass(frozen=True)
class AudioCut:
    """A recording, or a part cut from one, as the audio of an utterance.

    start, duration: seconds; None means from the beginning, to the end.
    effects: applied to the part, at 16 kHz.
    channel: the one that is heard, counted from 0 (a speaker of a telephone call); None for the mean of all.
    """

    recording: Recording
    start: float | None = None
    duration: float | None = None
    effects: Effects = NO_EFFECTS
    channel: int | None = None

    def digest(self, info: RecordingInfo | None = None) -> str:
        """Digest of the encoded bytes, the cut and the decoding version: the audio's half of a key in the store."""
        whole = info or inspect(self.recording)
        end = "end" if self.duration is None else f"{self.duration:.6f}"
        key = f"{whole.digest}|{self.start or 0.0:.6f}|{end}|decoding {DECODING_VERSION}"
        if self.channel is not None:
            key += f"|channel {self.channel}"
        if self.effects != NO_EFFECTS:
            key += f"|{self.effects.describe()}"
        return hashlib.sha256(key.encode()).hexdigest()

    def seconds(self, info: RecordingInfo | None = None) -> float:
        """Duration in seconds, from the header alone unless silence is removed.

        Raises UserError if the cut ends after the recording, or the recording has no such channel.
        """
        whole = info or inspect(self.recording)
        if self.channel is not None and not 0 <= self.channel < whole.channels:
            raise UserError(
                f"{self.recording.name} has no channel {self.channel}: it has {whole.channels}, counted from 0. "
                "Fix the manifest or leave the utterance out."
            )
        rest = whole.seconds - (self.start or 0.0)
        if rest <= 0 or (self.duration or 0.0) > rest + CUT_TOLERANCE:
            cut = "its end" if self.duration is None else f"{self.duration:.3f} s later"
            raise UserError(
                f"{self.recording.name} lasts {whole.seconds:.3f} s, but an utterance is to be cut from "
                f"{self.start or 0.0:.3f} s to {cut}; fix the manifest or leave the utterance out."
            )
        if self.effects.silence:
            return len(self.load()) / SAMPLE_RATE
        return rest if self.duration is None else min(self.duration, rest)

    def load(self) -> Tensor:
        """The waveform, (S,) float32 at 16 kHz.

        Integer PCM is scaled to [-1, 1]; channels are averaged where none is named; other rates are resampled by a
        windowed sinc (torchaudio's default: width 6, roll-off 0.99). Clipped and silent recordings are not changed.

        Raises UserError for a recording that cannot be decoded, is empty, or holds non-finite samples.
        """
        with self.recording.open() as stream, open_sound(self.recording, stream) as sound:
            rate = sound.samplerate
            first = round((self.start or 0.0) * rate)
            count = -1 if self.duration is None else round(self.duration * rate)
            try:
                sound.seek(min(first, sound.frames))
                samples = sound.read(count, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise undecodable(self.recording, error) from error
        if len(samples) == 0:
            raise UserError(
                f"{self.recording.name} holds no samples in the part asked for; replace the file or leave it out."
            )
        waveform = mixed_down(samples) if self.channel is None else np.ascontiguousarray(samples[:, self.channel])
        if not np.isfinite(waveform).all():
            raise UserError(f"{self.recording.name} holds NaN or infinite samples; export it again or leave it out.")
        processed = self.effects(resample(torch.from_numpy(waveform), rate))
        if len(processed) == 0:
            raise UserError(f"{self.recording.name} is silent: nothing is left of it. Leave it out of the corpus.")
        return processed


@dataclass(frozen=True)
class Window:
    """A fixed-length window of an utterance's audio.

    place: where it begins, from 0 (the earliest start) to 1 (the latest).
    samples: length at 16 kHz.
    """

    audio: Audio
    place: float
    samples: int

    def load(self) -> Tensor:
        """The window, (samples,) float32 at 16 kHz; the whole utterance if that is shorter.

        For a uniform `place` the first sample is uniform over all starts at which a window fits, both ends included,
        as s3prl draws it.
        """
        waveform = self.audio.load()
        spare = len(waveform) - self.samples
        return waveform if spare <= 0 else waveform[min(int(self.place * (spare + 1)), spare) :][: self.samples]


def survey(cuts: Iterable[AudioCut], known: Mapping[str, float] | None = None) -> Iterator[tuple[str, float]]:
    """Digest and seconds of every cut, in order; each recording is read once, however many are cut from it.

    known: seconds by digest, used for cuts whose duration takes decoding.
    """
    cuts, found = list(cuts), known or {}
    with ThreadPoolExecutor(READERS) as pool:  # reading, hashing and decoding all release the interpreter's lock
        infos = {recording: pool.submit(inspect, recording) for recording in {cut.recording: None for cut in cuts}}

        def look(cut: AudioCut) -> tuple[str, float]:
            info = infos[cut.recording].result()
            digest = cut.digest(info)
            seconds = found.get(digest) if cut.effects.silence else None
            return digest, cut.seconds(info) if seconds is None else seconds

        yield from pool.map(look, cuts)


def inspect(recording: Recording) -> RecordingInfo:
    """Digest and duration of a recording.

    Raises UserError if it is not audio, or a truncated WAV file, which libsndfile would accept.
    """
    with recording.open() as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary stream will do
        refuse_truncated(recording, stream)
        stream.seek(0)
        with open_sound(recording, stream) as sound:
            return RecordingInfo(digest, float(sound.frames / sound.samplerate), sound.channels)


def refuse_truncated(recording: Recording, stream: BinaryIO) -> None:
    """Raise UserError for a RIFF file that is shorter than its header says."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    header = stream.read(8)
    announced = int.from_bytes(header[4:8], "little")
    if header[:4] == b"RIFF" and announced not in RIFF_UNKNOWN and size + RIFF_TOLERANCE < announced + 8:
        raise UserError(
            f"{recording.name} is cut short: its header announces {announced + 8} bytes and it has {size}. "
            "Copy or download it again, or leave it out."
        )


def open_sound(recording: Recording, stream: BinaryIO) -> soundfile.SoundFile:
    """Open an encoded recording; raise UserError if soundfile cannot.

    Files on disk are opened by path, so that libsndfile reads them itself. It reads a stream through Python, 8 KB at a
    time: decoding threads, and the upstream, would then wait for the interpreter's lock.
    """
    file = path_for_soundfile(recording.path) if isinstance(recording, AudioFile) else stream
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.SoundFileError as error:
        raise undecodable(recording, error) from error
    if sound.format == "RAW":  # no known header, taken for raw samples because of its name
        raise undecodable(recording, ValueError("it has no header that libsndfile knows"))
    return sound


def undecodable(recording: Recording, error: Exception) -> UserError:
    """The error for a recording that soundfile cannot decode."""
    return UserError(
        f"{recording.name} is not audio that soundfile can decode ({error}). "
        "Replace the file by an intact WAV or FLAC, or leave it out of the corpus."
    )


def path_for_soundfile(path: Path) -> str | bytes:
    """A path in the form soundfile takes: names that are not in the system's encoding only work as bytes."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def mixed_down(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over channels, (S, C) -> (S,).

    Stereo is added in numpy: in one thread, while PyTorch would take the upstream's cores, and seven times as fast as a
    mean, with the same result to the last bit.
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


ONE_AT_A_TIME = Lock()  # otherwise every decoding thread computes the same filter at the start


@lru_cache(maxsize=8)  # rates; the filter of a common rate takes up to 5 MB, of an odd one (22,254 Hz) hundreds
def resampler(rate: int) -> Resample:
    """The resampler from `rate` Hz to 16 kHz, cached because its filter takes longer to compute than to apply.

    float32 throughout, which gives the samples of torchaudio.functional.resample to the last bit.
    """
    from torchaudio.transforms import Resample

    return Resample(rate, SAMPLE_RATE, dtype=torch.float32)
