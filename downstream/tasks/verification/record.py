"""Verification's part of a record, and its tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field
from rich.table import Table
from rich.text import Text

from upstream.terminal import plain_table


class TrialDetails(BaseModel):
    """The trials of a test."""

    trials: int
    targets: int = Field(description="target trials: both utterances are of one speaker")
    rule: str = Field(description="origin of the trials")
    threshold: float = Field(description="the score threshold at the equal error rate")


class VerificationDetails(BaseModel):
    """Fields of the record of a head."""

    trials: TrialDetails


def trial_table(heads: Sequence[tuple[str, TrialDetails]]) -> Table:
    """Return the trials of each fold, and the score threshold at the equal error rate.

    heads: fold and trials of each head; thresholds of several seeds are averaged.
    """
    table = plain_table(title="trials")
    for heading in ("fold", "trials", "of one speaker", "threshold"):
        table.add_column(heading, justify="right" if heading != "fold" else "left")
    for fold in dict.fromkeys(name for name, _ in heads):
        own = [trials for name, trials in heads if name == fold]
        threshold = np.mean([one.threshold for one in own])
        table.add_row(fold, f"{own[0].trials:,}", f"{own[0].targets:,}", f"{threshold:.3f}")
    return table


def trial_rules(heads: Sequence[tuple[str, TrialDetails]]) -> list[Text]:
    """Return the rules that the trials come from, a line each."""
    return [Text(f"trials    {rule}") for rule in dict.fromkeys(trials.rule for _, trials in heads)]
