"""Recordings to predict: of files that a user names, or waveforms in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from downstream.data import Effects, recordings_named
from downstream.recipes import EffectsSettings
from upstream.base import SAMPLE_RATE, check_waveform
from upstream.encode import Item
from upstream.errors import UserError

Recordings = str | Path | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class NewRecording:
    """A recording to predict.

    name: that no other one has. path: of its file, as printed; None for a waveform in memory.
    """

    name: str
    path: str | None
    item: Item

    @property
    def row(self) -> dict[str, Any]:
        """The columns that its answer begins with."""
        place = {} if self.path is None else {"path": self.path}
        return {"id": self.name, **place, "seconds": round(self.item.seconds, 3)}


@dataclass(frozen=True)
class Waveform:
    """A waveform in memory: samples (S,) float32 at 16 kHz in [-1, 1], as `upstream.encode.Audio`."""

    samples: Tensor
    effects: Effects

    def load(self) -> Tensor:
        """Return the waveform with its effects; raise UserError where nothing is left of it."""
        processed = self.effects(self.samples)
        if len(processed) == 0:
            raise UserError("A waveform is silent: nothing is left of it. Leave it out.")
        return processed


def new_recordings(
    given: Recordings, settings: EffectsSettings, progress: bool, skip_unreadable: bool = False
) -> tuple[list[NewRecording], tuple[str, ...]]:
    """Return the recordings, with the effects of the recipe, and sentences on what was left out.

    given: words as of a command line (files, folders, tables, lists), waveforms, or waveforms by name.

    Raises UserError for what cannot be read, and for waveforms that are no floats at 16 kHz.
    """
    effects = Effects(settings.gain, settings.remove_silence)
    if isinstance(given, Mapping):
        return [in_memory(name, wave, effects) for name, wave in given.items()], ()
    words = [given] if isinstance(given, str | Path) else list(given)
    if words and not any(isinstance(word, str | Path) for word in words):
        return [in_memory(str(number), wave, effects) for number, wave in enumerate(words)], ()
    if not all(isinstance(word, str | Path) for word in words):
        raise UserError("Give names of files or waveforms, not some of each.")
    named = recordings_named(
        [str(word) for word in words], progress=progress, skip_unreadable=skip_unreadable, effects=effects
    )
    return [NewRecording(one.id, one.path, one.item) for one in named.recordings], named.notes


def in_memory(name: str, waveform: Any, effects: Effects) -> NewRecording:
    """Return a waveform (tensor, array or list of floats) as a recording; raise UserError where it is none."""
    try:
        samples = torch.as_tensor(np.asarray(waveform) if not isinstance(waveform, Tensor) else waveform).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"Waveform {name} is no tensor, array or list of samples ({error}).") from error
    check_waveform(samples, f"Waveform {name}")
    samples = samples.detach().to(torch.float32)
    digest = hashlib.sha256(samples.contiguous().numpy().tobytes()).hexdigest()
    return NewRecording(name, None, Item(name, Waveform(samples, effects), digest, len(samples) / SAMPLE_RATE))
