"""Windows of background noise: the silence class of keyword spotting."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from downstream.data.corpus import Utterance


def noise_window(recording: Utterance, start: float, seconds: float) -> Utterance:
    """A window of a noise recording, from `start` seconds on; timed segments of the recording are dropped."""
    first = (recording.audio.start or 0.0) + start
    audio = replace(recording.audio, start=first, duration=seconds)
    return replace(recording, id=f"{recording.id}@{start:.6f}", audio=audio, speaker="", speech=False, segments=())


def consecutive_windows(recording: Utterance, seconds: float) -> list[Utterance]:
    """Cut a noise recording into consecutive windows; a shorter rest at its end is not used.

    The first windows are train, the next tenth dev and the last tenth test, so that the parts share no audio. A
    recording that already has a split, or gives fewer than three windows, stays in one part.
    """
    count = int(recording.audio.seconds() / seconds)
    if recording.split is not None or count < 3:
        whole = replace(recording, split=recording.split or "train")
        return [noise_window(whole, number * seconds, seconds) for number in range(count)]
    held = ceil(count / 10)
    splits = ["train"] * (count - 2 * held) + ["dev"] * held + ["test"] * held
    return [
        replace(noise_window(recording, number * seconds, seconds), split=split) for number, split in enumerate(splits)
    ]
