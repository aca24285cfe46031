"""Small datasets whose audio is never read, and the naive bootstrap that intervals are checked against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Corpus, Utterance
from downstream.data.dataset import Dataset, Part, Targets
from downstream.data.splits import Fold, Split
from upstream.encode import Item


def small_dataset(
    speakers: Sequence[str],
    folds: Sequence[Fold],
    targets: Targets | None = None,
    parts: Sequence[str | None] | None = None,
    **fields: object,
) -> Dataset:
    """Return a dataset of the utterances u0, u1, … of these speakers; those of the speaker "" are no speech.

    parts: the corpus's name of the part of every utterance. fields: of the dataset.
    """
    utterances = tuple(
        Utterance(f"u{i}", AudioCut(AudioFile(Path("unread"))), speaker, part=part, speech=bool(speaker))
        for i, (speaker, part) in enumerate(zip(speakers, parts or [None] * len(speakers), strict=True))
    )
    return Dataset(
        corpus=Corpus("small", "Small", "none", utterances, "nowhere"),
        column="label",
        utterances=utterances,
        items=tuple(Item(u.id, u.audio, u.id, 1.5) for u in utterances),
        split=Split(tuple(folds), "rule"),
        targets=targets or Targets(),
        **fields,  # type: ignore[arg-type]
    )


def whole_test(fold: Fold) -> Part:
    """Return the test set of a fold as one part."""
    return Part(fold, "test", fold.test, is_test=True)


def bootstrapped(
    by_speaker: Sequence[Sequence[int]], rate: Callable[[list[int]], float], value: float, seed: int, highest: float
) -> tuple[float, float]:
    """Return the interval from single utterances: each draw of speakers has all their utterances pooled and scored."""
    whole = rate([i for own in by_speaker for i in own])
    drawn = np.random.default_rng(seed).integers(len(by_speaker), size=(2000, len(by_speaker)))
    scores = [rate([i for speaker in speakers for i in by_speaker[speaker]]) for speakers in drawn]
    low, high = np.quantile(np.array(scores) - whole, [0.025, 0.975])
    return max(0.0, value + low), min(highest, value + high)
