"""The utterances of a corpus that a family of tasks can use, before they are divided."""

from __future__ import annotations

from dataclasses import dataclass

from downstream.data.corpus import Utterance
from upstream.encode import Item


@dataclass(frozen=True)
class Choice:
    """The utterances of a corpus that a family can use, sorted by id.

    column: what is learned: a column of labels, "text", "speaker" or "segments".
    classes, labels: the classes in order, and the class of each utterance; empty where nothing is classified.
    noise_seconds: length of the windows that superb_ks cuts from noise; None without a class of silence.
    notes: sentences for the record.
    items: every utterance as it is encoded, where the split depends on the audio; else empty.
    """

    column: str
    utterances: tuple[Utterance, ...]
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    noise_seconds: float | None = None
    notes: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
