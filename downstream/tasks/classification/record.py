"""Classification's part of a record, and its tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field
from rich.table import Table
from rich.text import Text

from downstream.tasks.evaluation import IntArray
from upstream.terminal import plain_table


class ClassificationDetails(BaseModel):
    """Fields of the record of a run."""

    classes: list[str] = Field(description="in the order of a head's outputs")


class ConfusionDetails(BaseModel):
    """Fields of the record of a head."""

    confusion: list[list[int]] = Field(description="counts, a row per true class")


WIDEST_CONFUSIONS = 16  # classes; with more, recall and commonest confusion of each class are shown instead


def confusion_or_recall_table(classes: Sequence[str], confusions: Sequence[Sequence[Sequence[int]]]) -> Table:
    """Return the confusions summed over heads; with many classes, the recall of each.

    confusions: (C, C) counts of each head.
    """
    counts: IntArray = np.sum([np.array(confusion) for confusion in confusions], axis=0)
    return confusion_table(classes, counts) if len(classes) <= WIDEST_CONFUSIONS else recall_table(classes, counts)


def confusion_table(classes: Sequence[str], counts: IntArray) -> Table:
    """Return confusions in percent of the true class."""
    table = plain_table(title="true class (rows) taken for (columns), %")
    table.add_column("")
    for name in classes:
        table.add_column(Text(name), justify="right")
    table.add_column("count", justify="right")
    for row, name in enumerate(classes):
        total = int(counts[row].sum())
        shares = [Text(f"{100 * count / total:.1f}" if total else "-") for count in counts[row]]
        shares[row].stylize("bold")
        table.add_row(Text(name), *shares, str(total))
    return table


def recall_table(classes: Sequence[str], counts: IntArray) -> Table:
    """Return the recall of each class, and the class it was most often confused with."""
    table = plain_table(title="recall of each class, %")
    for heading in ("class", "recall", "count", "most taken for"):
        table.add_column(heading, justify="left" if heading in {"class", "most taken for"} else "right")
    for row, name in enumerate(classes):
        total = int(counts[row].sum())
        wrong = counts[row].copy()
        wrong[row] = 0
        taken = f"{classes[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else "-"
        recall = f"{100 * counts[row, row] / total:.1f}" if total else "-"
        table.add_row(Text(name), recall, str(total), Text(taken))
    return table
