"""Audio from bytes to waveform: decode, cut, mix down, resample, check."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE
from upstream.errors import MendableError


class AudioSource(Protocol):
    """Something that holds one recording in an encoded form (WAV, FLAC, OGG, SPHERE, MP3 ...)."""

    @property
    def name(self) -> str:
        """What to call it in a message."""

    def read(self) -> bytes:
        """The encoded bytes."""


@dataclass(frozen=True)
class AudioFile:
    """A recording in a file on disk."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise MendableError(
                f"Cannot read the recording {self.path}: {error.strerror}. Check --data and the manifest."
            ) from error


@dataclass(frozen=True)
class Segment:
    """What part of which recording an utterance is.

    start, duration: seconds; None means from the beginning, to the end.
    """

    source: AudioSource
    start: float | None = None
    duration: float | None = None

    def digest(self) -> str:
        """Digest of the encoded bytes and of the cut, the audio's half of a key in the store."""
        content = hashlib.sha256(self.source.read())
        end = "end" if self.duration is None else f"{self.duration:.6f}"
        content.update(f"|{self.start or 0.0:.6f}|{end}".encode())
        return content.hexdigest()

    def seconds(self) -> float:
        """Duration in seconds, read from the header alone where the cut does not say it."""
        if self.duration is not None:
            return self.duration
        with open_sound(self.source) as sound:
            return float(sound.frames / sound.samplerate - (self.start or 0.0))

    def load(self) -> Tensor:
        """The waveform, (S,) float32 at 16 kHz.

        Integer PCM is scaled to [-1, 1]; several channels are averaged; other rates are resampled by a
        windowed sinc (torchaudio's default: width 6, roll-off 0.99). Clipped and silent recordings pass as
        they are.

        Raises MendableError for a recording that cannot be decoded, is empty, or holds non-finite samples.
        """
        samples, rate = self._decode()
        waveform = torch.from_numpy(samples).mean(dim=1)
        if not bool(torch.isfinite(waveform).all()):
            raise MendableError(f"{self.source.name} holds NaN or infinite samples; export it again or leave it out.")
        return resample(waveform, rate)

    def _decode(self) -> tuple[np.ndarray, int]:
        """Samples of the segment (S, channels) float32, and their rate in Hz."""
        with open_sound(self.source) as sound:
            rate = sound.samplerate
            first = round((self.start or 0.0) * rate)
            count = -1 if self.duration is None else round(self.duration * rate)
            if first >= sound.frames or count == 0:
                raise MendableError(
                    f"{self.source.name} has no audio in the segment asked for (it lasts {sound.frames / rate:.3f} s, "
                    f"the segment starts at {self.start or 0.0:.3f} s); mend the manifest or leave the utterance out."
                )
            try:
                sound.seek(first)
                samples = sound.read(count, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise undecodable(self.source, error) from error
        if len(samples) == 0:
            raise MendableError(f"{self.source.name} holds no samples; replace the file or leave it out.")
        return samples, rate


def open_sound(source: AudioSource) -> soundfile.SoundFile:
    """Open an encoded recording; raise MendableError where soundfile cannot."""
    try:
        return soundfile.SoundFile(io.BytesIO(source.read()))
    except soundfile.SoundFileError as error:
        raise undecodable(source, error) from error


def undecodable(source: AudioSource, error: Exception) -> MendableError:
    return MendableError(
        f"{source.name} is not audio that soundfile can decode ({error}). "
        "Replace the file by an intact WAV or FLAC, or leave it out of the corpus."
    )


def resample(waveform: Tensor, rate: int) -> Tensor:
    """(S,) at `rate` Hz -> (S',) at 16 kHz."""
    if rate == SAMPLE_RATE:
        return waveform
    from torchaudio.functional import resample as sinc_resample

    resampled: Tensor = sinc_resample(waveform, rate, SAMPLE_RATE)
    return resampled
