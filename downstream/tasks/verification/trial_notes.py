"""Trials that measure nothing, or contradict the corpus: said in notes, or refused."""

from __future__ import annotations

import numpy as np
import torch

from downstream.data import Dataset
from downstream.tasks.verification.trials import IntArray, Trials
from upstream.errors import UserError
from upstream.text import counted


def trial_notes(dataset: Dataset, trials: Trials, name: str) -> list[str]:
    """Return sentences on trials of one recording alone and on trials that occur twice.

    name: the origin of the trials, for messages. Raises UserError for trials that contradict the corpus's speakers, and
    where every target is a recording against itself.
    """
    refuse_contradictions(dataset, trials, name)
    notes = []
    alone = against_themselves(dataset, trials)
    if count := int(alone.sum()):
        if count == int(trials.target.sum()):
            raise UserError(
                f"All {count} target trials of {name} compare a recording with itself, which tells nothing of "
                f"speakers ({example(dataset, trials, alone)} first). Choose pairs of different recordings, or "
                "-o trials.list=drawn."
            )
        notes.append(
            f"{counted(count, 'trial compares', 'trials compare')} a recording with itself, of {len(trials)} of {name} "
            f"({example(dataset, trials, alone)} first), which no head gets wrong: the error rates are too low."
        )
    again = repeated(trials)
    if count := int(again.sum()):
        notes.append(
            f"{counted(count, 'trial repeats', 'trials repeat')} an earlier one, of {len(trials)} of {name} "
            f"({example(dataset, trials, again)} first), and their pairs count again."
        )
    return notes


def refuse_contradictions(dataset: Dataset, trials: Trials, name: str) -> None:
    """Raise UserError unless targets are pairs of one speaker, and the others are not."""
    number = {speaker: index for index, speaker in enumerate(sorted({u.speaker for u in dataset.utterances}))}
    speakers = torch.tensor([number[u.speaker] for u in dataset.utterances])
    wrong = (speakers[trials.enrolment] == speakers[trials.test]) != trials.target
    if not wrong.any():
        return
    first = int(wrong.nonzero()[0])
    one, other = (dataset.utterances[int(side[first])].speaker for side in (trials.enrolment, trials.test))
    speakers_named = f"the speaker {one} for both" if one == other else f"the speakers {one} and {other}"
    they = counted(int(wrong.sum()), "trial contradicts", "trials contradict")
    raise UserError(
        f"{they} the corpus, of {len(trials)} of {name}: the first, {example(dataset, trials, wrong)}, is "
        f"{'a' if trials.target[first] else 'no'} target, and the corpus names {speakers_named}. Fix the list, or the "
        "corpus's speakers."
    )


def against_themselves(dataset: Dataset, trials: Trials) -> torch.Tensor:
    """Return which trials are of one recording, also under two names, (N,) bool."""
    alone = trials.enrolment == trials.test
    if not dataset.items:
        return alone
    number: dict[str, int] = {}
    audio = torch.tensor([number.setdefault(item.digest, len(number)) for item in dataset.items])
    return alone | (audio[trials.enrolment] == audio[trials.test])


def repeated(trials: Trials) -> torch.Tensor:
    """Return which trials are of the same two utterances as one before, in either order, (N,) bool."""
    pairs: IntArray = np.sort(torch.stack([trials.enrolment, trials.test], dim=1).numpy(), axis=1)
    again = torch.ones(len(trials), dtype=torch.bool)
    again[torch.from_numpy(np.unique(pairs, axis=0, return_index=True)[1])] = False
    return again


def example(dataset: Dataset, trials: Trials, which: torch.Tensor) -> str:
    """Return the ids of the first of some trials; which: (N,) bool."""
    first = int(which.nonzero()[0])
    return " and ".join(dataset.utterances[int(side[first])].id for side in (trials.enrolment, trials.test))
