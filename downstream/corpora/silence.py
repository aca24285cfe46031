"""Windows of background noise, which stand for silence in keyword spotting."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from downstream.corpora.table import Utterance


def window(recording: Utterance, start: float, seconds: float) -> Utterance:
    """A window of a recording of noise that begins `start` seconds into it."""
    first = (recording.audio.start or 0.0) + start
    audio = replace(recording.audio, start=first, duration=seconds)
    return replace(recording, id=f"{recording.id}@{start:.6f}", audio=audio, speaker="", speech=False)


def consecutive_windows(recording: Utterance, seconds: float) -> list[Utterance]:
    """A recording cut into windows one after the other; what is left at its end is not used.

    The first windows train, a tenth develops, and the last tenth is for the test, so that no moment of noise is heard
    on two sides.
    """
    count = int(recording.audio.seconds() / seconds)
    held = ceil(count / 10)
    splits = ["train"] * (count - 2 * held) + ["dev"] * held + ["test"] * held
    return [
        replace(window(recording, number * seconds, seconds), split=split)
        for number, split in zip(range(count), splits, strict=False)
    ]
