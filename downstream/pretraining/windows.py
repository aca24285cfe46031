"""What each update learns from: windows of speech, drawn from the seed and the update's number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from downstream.pretraining.speech import Speech, Stream, frames_of, samples_of
from downstream.recipes import BatchSettings, HeldBack, MaskSettings, PretrainingRecipe
from downstream.training import derived
from upstream.base import SAMPLE_RATE
from upstream.wavlm.dropout import generator_of
from upstream.wavlm.masking import spans
from upstream.wavlm.pretraining import mixed, noise

CPU = torch.device("cpu")


@dataclass(frozen=True)
class WindowOfSpeech:
    """One window.

    stream: its number. frame: where it begins. samples: its length. mask: (T,) bool. seed: of what else is random.
    """

    stream: int
    frame: int
    samples: int
    mask: Tensor
    seed: int


class Windows:
    """Draws the windows of updates.

    A stream is drawn with a probability that is proportional to its length and weight; a window begins at any of its
    frames. Nothing here has a state: update 5 draws the same windows whether or not update 4 was drawn before.
    """

    def __init__(self, recipe: PretrainingRecipe, speech: Speech) -> None:
        self._recipe, self._speech = recipe, speech
        shares = speech.draws()
        self._edges = np.cumsum(shares) / shares.sum()

    def update(self, step: int) -> list[list[WindowOfSpeech]]:
        """Return the windows of every micro-batch of an update."""
        batch = self._recipe.batch_at(step)
        return [self._micro_batch(batch, f"part {part} of update {step}") for part in range(batch.accumulate)]

    def _micro_batch(self, batch: BatchSettings, place: str) -> list[WindowOfSpeech]:
        samples = samples_of(batch.windows[derived(self._recipe.seed, f"length of {place}") % len(batch.windows)])
        # Windows are 80 samples longer than their seconds: one that lacks no more than a hundredth fits.
        count = max(1, int(batch.seconds * SAMPLE_RATE / samples + 0.01))
        return [self._window(derived(self._recipe.seed, f"window {i} of {place}"), samples) for i in range(count)]

    def _window(self, seed: int, samples: int) -> WindowOfSpeech:
        stream, frame = self._place(seed, samples, "place")
        return WindowOfSpeech(stream, frame, samples, drawn_mask(self._recipe.mask, seed, samples), seed)

    def _place(self, seed: int, samples: int, purpose: str) -> tuple[int, int]:
        """Return a stream and the frame at which a window in it begins."""
        of_stream, of_frame = torch.rand(2, dtype=torch.float64, generator=generator_of(seed, purpose, CPU)).tolist()
        stream = min(int(np.searchsorted(self._edges, of_stream, side="right")), len(self._edges) - 1)
        starts = self._speech.learned[stream].frames - frames_of(samples) + 1
        return stream, min(int(of_frame * starts), starts - 1)

    def waveform(self, window: WindowOfSpeech) -> Tensor:
        """Return the samples of a window, mixed with others where its seed says so."""
        speech = self._speech.learned[window.stream].window(window.frame, window.samples)
        settings = self._recipe.mixing
        generator = generator_of(window.seed, "mixing", CPU)
        is_mixed, is_noise, of_level = torch.rand(3, dtype=torch.float64, generator=generator).tolist()
        if is_mixed >= settings.probability:
            return speech
        with_noise = is_noise < settings.noise
        other = self._noise(window, generator) if with_noise else self._second_speaker(window)
        if other is None:
            return speech
        low, high = settings.noise_level if with_noise else settings.speaker_level
        return mixed(speech, other, low + (high - low) * of_level, settings.longest, generator)

    def _second_speaker(self, window: WindowOfSpeech) -> Tensor | None:
        """Return a window of another stream; None where the same speaker was drawn."""
        stream, frame = self._place(window.seed, window.samples, "second speaker")
        same = self._speech.learned[stream].name == self._speech.learned[window.stream].name
        return None if same else self._speech.learned[stream].window(frame, window.samples)

    def _noise(self, window: WindowOfSpeech, generator: torch.Generator) -> Tensor:
        """Return recorded noise, if there is some that is long enough, as often as synthetic noise."""
        recorded = [one for one in self._speech.noises if len(one.samples) >= window.samples]
        which, place = torch.rand(2, dtype=torch.float64, generator=generator).tolist()
        if not recorded or which < 0.5:
            return noise(window.samples, generator)
        chosen = recorded[int((which - 0.5) * 2 * len(recorded))]
        return chosen.window(int(place * (chosen.frames - frames_of(window.samples) + 1)), window.samples)


def drawn_mask(settings: MaskSettings, seed: int, samples: int) -> Tensor:
    """Return which frames of a window are masked, (T,) bool."""
    return spans(frames_of(samples), settings.probability, settings.length, 1, generator_of(seed, "mask", CPU))


def held_windows(
    held: Sequence[Stream], first: int, settings: HeldBack, mask: MaskSettings
) -> list[tuple[Stream, WindowOfSpeech]]:
    """Return the windows of held-back speech, side by side, with masks that are the same at every measurement.

    first: number of the first held-back stream among all.
    """
    samples = samples_of(settings.window)
    return [
        (stream, WindowOfSpeech(first + number, frame, samples, drawn_mask(mask, seed, samples), seed))
        for number, stream in enumerate(held)
        for frame in range(0, stream.frames - frames_of(samples) + 1, frames_of(samples))
        for seed in (derived(frame, f"held back {stream.digest}"),)
    ]
