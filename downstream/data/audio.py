"""Audio from bytes to waveform: decode, cut, mix down, resample, check."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from downstream.data.container_findings import AGAIN
from downstream.data.effects import Effects
from downstream.data.not_audio import undecodable
from downstream.data.recordings import AudioFile, Recording, RecordingInfo, Sound, decoder, inspect
from downstream.data.resampling import is_by_phase, resample
from upstream.base import SAMPLE_RATE
from upstream.encode import Audio
from upstream.errors import UserError

__all__ = ["AUDIO_SUFFIXES", "AudioCut", "AudioFile", "Recording", "Window"]

# Incremented when the same file gives other samples, so that stored states of the old ones are not used.
DECODING_VERSION = 1

AUDIO_SUFFIXES = (".wav", ".flac")  # of the files that corpora are searched for

NO_EFFECTS = Effects()

# Seconds by which a cut may end after its recording, since manifests round, and by which decoding may end early.
CUT_TOLERANCE = 0.1
# Samples decoded at once, 1 minute at 48 kHz and more: a damaged header announces any number.
BLOCK = 2**22
# Share of the channels' power that their mean has at least; half of it where they have nothing in common.
LEAST_POWER = 0.01


@dataclass(frozen=True)
class AudioCut:
    """A recording, or a part cut from one, as the audio of an utterance.

    start, duration: seconds; None means from the beginning, to the end.
    effects: applied to the part, at 16 kHz.
    channel: the one that is heard, counted from 0 (a speaker of a telephone call); None for the mean of all.
    info: what was found when the recording was inspected, None before; what is decoded later must be the same.
    """

    recording: Recording
    start: float | None = None
    duration: float | None = None
    effects: Effects = NO_EFFECTS
    channel: int | None = None
    info: RecordingInfo | None = field(default=None, compare=False, repr=False)

    def inspected(self, info: RecordingInfo | None = None) -> AudioCut:
        """The same cut, with what is known of its recording, which is read where no `info` is given."""
        known = info or inspect(self.recording)
        return AudioCut(self.recording, self.start, self.duration, self.effects, self.channel, known)

    def digest(self) -> str:
        """Digest of the encoded bytes, the cut and the decoding version: the audio's half of a key in the store."""
        whole = self.info or inspect(self.recording)
        end = "end" if self.duration is None else f"{self.duration:.6f}"
        key = f"{whole.digest}|{self.start or 0.0:.6f}|{end}|decoding {DECODING_VERSION}"
        if self.channel is not None:
            key += f"|channel {self.channel}"
        if whole.is_patched:
            key += "|with its length"
        if is_by_phase(whole.rate):
            key += "|resampled by phase"
        if self.effects != NO_EFFECTS:
            key += f"|{self.effects.describe()}"
        return hashlib.sha256(key.encode()).hexdigest()

    def seconds(self) -> float:
        """Duration in seconds, from the header alone unless silence is removed.

        Raises UserError if the cut ends after the recording, or the recording has no such channel.
        """
        whole = self.info or inspect(self.recording)
        self._refuse_absent_channel(whole.channels)
        if whole.seconds == 0:
            raise UserError(f"{self.recording.name} holds no samples; replace the file or leave it out.")
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

        Raises UserError for a recording that cannot be decoded to its end, is empty, holds non-finite samples, or has
        channels that cancel each other, and for a file that has changed since it was inspected.
        """
        with decoder(self.recording, self.info) as sound:
            rate = sound.samplerate
            try:
                samples = self._decoded(sound)
            except soundfile.SoundFileError as error:
                raise undecodable(self.recording.name, error) from error
        waveform = self._one_channel(samples)
        if not np.isfinite(waveform).all():
            raise UserError(f"{self.recording.name} holds NaN or infinite samples; export it again or leave it out.")
        processed = self.effects(resample(torch.from_numpy(waveform), rate))
        if len(processed) == 0:
            raise UserError(f"{self.recording.name} is silent: nothing is left of it. Leave it out of the corpus.")
        return processed

    def _decoded(self, sound: Sound) -> NDArray[np.float32]:
        """The samples of the part, (S, C)."""
        first = min(round((self.start or 0.0) * sound.samplerate), sound.frames)
        rest = sound.frames - first
        wanted = rest if self.duration is None else min(round(self.duration * sound.samplerate), rest)
        sound.seek(first)
        samples = read(sound, wanted)
        if len(samples) < wanted - CUT_TOLERANCE * sound.samplerate:
            raise UserError(
                f"{self.recording.name} is cut short or damaged: it announces {sound.frames / sound.samplerate:.3f} s "
                f"and can be decoded to {(first + len(samples)) / sound.samplerate:.3f} s. {AGAIN}"
            )
        if len(samples) == 0:
            raise UserError(
                f"{self.recording.name} holds no samples in the part asked for; replace the file or leave it out."
            )
        return samples

    def _one_channel(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(S, C) -> (S,)."""
        self._refuse_absent_channel(samples.shape[1])
        if self.channel is not None:
            return np.ascontiguousarray(samples[:, self.channel])
        mixed = mixed_down(samples)
        if cancels(samples, mixed):
            raise UserError(
                f"{self.recording.name} has channels of opposite phase, which cancel each other in their mean. "
                "Export one channel of it, or name one in a column channel of a manifest, or leave it out."
            )
        return mixed

    def _refuse_absent_channel(self, channels: int) -> None:
        """Raise UserError if the recording has not the channel that is asked for."""
        if self.channel is not None and not 0 <= self.channel < channels:
            raise UserError(
                f"{self.recording.name} has no channel {self.channel}: it has {channels}, counted from 0. "
                "Fix the manifest or leave the utterance out."
            )


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


def read(sound: Sound, count: int) -> NDArray[np.float32]:
    """The next `count` samples, (S, C), fewer where fewer are there."""
    blocks: list[NDArray[np.float32]] = []
    while True:
        blocks.append(sound.read(min(count, BLOCK), dtype="float32", always_2d=True))
        count -= len(blocks[-1])
        if count <= 0 or len(blocks[-1]) < BLOCK:
            return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


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


def cancels(samples: NDArray[np.float32], mixed: NDArray[np.float32]) -> bool:
    """Return True if the mean of channels (S,) has hardly any of their power (S, C): one is the other, negated."""
    channels = samples.shape[1]
    if channels == 1:
        return False
    power = float(np.vdot(samples, samples)) / channels
    return bool(np.vdot(mixed, mixed) < LEAST_POWER * power)
