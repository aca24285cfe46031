"""The phases of a run, and how long each took."""

from __future__ import annotations

import time

from downstream.data import Dataset
from downstream.results.record import Timing
from upstream.encode import seconds_of


class Phases:
    """A clock of a run's phases; the first one is reading, which took so many seconds before."""

    def __init__(self, reading: float = 0.0) -> None:
        self._began = {"reading": time.perf_counter() - reading}

    def begin(self, phase: str) -> None:
        """End the phase before, and begin another one."""
        self._began[phase] = time.perf_counter()

    def timing(self, dataset: Dataset, extracted: float) -> Timing:
        """End the last phase; return the seconds of each. extracted: seconds of audio that the upstream encoded."""
        ends = [*list(self._began.values())[1:], time.perf_counter()]
        seconds = {name: end - began for (name, began), end in zip(self._began.items(), ends, strict=True)}
        return Timing(
            **seconds,
            audio_seconds=seconds_of([dataset.items[index] for index in dataset.split.used]),
            extracted_audio_seconds=extracted,
        )
