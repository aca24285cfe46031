"""Small datasets whose audio is never read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
