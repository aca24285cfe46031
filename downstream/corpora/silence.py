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
    on two sides. A recording that has a part of its own, or gives less than three windows, stays in one part.
    """
    count = int(recording.audio.seconds() / seconds)
    if recording.split is not None or count < 3:
        own = replace(recording, split=recording.split or "train")
        return [window(own, number * seconds, seconds) for number in range(count)]
    held = ceil(count / 10)
    splits = ["train"] * (count - 2 * held) + ["dev"] * held + ["test"] * held
    return [replace(window(recording, number * seconds, seconds), split=split) for number, split in enumerate(splits)]
