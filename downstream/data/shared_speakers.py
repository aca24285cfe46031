"""Speakers who are, or may be, in training and test: what a score says less of than it seems to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from downstream.data.splits import Split
from upstream.text import counted

if TYPE_CHECKING:
    from downstream.data.corpus import Utterance


def speaker_caveats(split: Split, utterances: Sequence[Utterance]) -> list[str]:
    """Return sentences on speakers in training and test of a fold, and on speech of nobody known, if there are any.

    utterances: those that the split's indices mean.
    """
    used = [utterances[index] for index in split.used if utterances[index].speech]
    nameless = sum(not utterance.speaker for utterance in used)
    crossing: set[str] = set()
    for fold in split.folds:
        trained, tested = ({utterances[index].speaker for index in part} for part in (fold.train, fold.test))
        crossing |= (trained & tested) - {""}
    found = []
    if crossing:
        are = counted(len(crossing), "speaker is", "speakers are")
        found.append(f"{are} in training and test: the score says nothing about speakers who are new.")
    if nameless:
        who = "No utterance names its" if nameless == len(used) else f"{nameless} of {len(used)} utterances name no"
        found.append(
            f"{who} speaker: training and test may share speakers, and the score may then be too high for new ones."
        )
    return found
