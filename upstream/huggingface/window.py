"""Encoders with a window of fixed length, Whisper's 30 s: which frames are an utterance's, and where long ones are cut.

An utterance is filled up with silence to the window, whatever else is in its batch, and the frames that begin beyond it
are left out. One that is longer than the window is cut into as few equal parts as fit, which are encoded by themselves:
equal ones, so that none is a short rest without context.
"""

from __future__ import annotations

import math
from typing import Any

from upstream.base import SAMPLE_RATE
from upstream.huggingface.library import transformers_library


def fixed_window(extractor: Any) -> int | None:
    """Return the samples of the window of an encoder with a fixed input length (Whisper: 30 s), else None."""
    whisper = isinstance(extractor, transformers_library().WhisperFeatureExtractor)
    return int(extractor.n_samples) if whisper else None


def equal_parts(samples: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Return first and last sample (exclusive) of the parts of an utterance; one part if it fits the window.

    All parts but the last are of equally many whole frames, so that the frames of the parts are those of the utterance.
    """
    count = math.ceil(samples / window)
    length = stride * math.ceil(math.ceil(samples / stride) / count)
    return [(start, min(start + length, samples)) for start in range(0, samples, length)]


def window_note(window: int) -> str:
    """Return a sentence on what becomes of longer utterances, for the record."""
    return (
        f"The encoder takes {window / SAMPLE_RATE:g} s at once: shorter utterances are filled up with silence, whose "
        "frames are left out; longer ones are cut into equal parts."
    )
