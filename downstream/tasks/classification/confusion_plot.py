"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from downstream.pictures import WIDTH, Picture, drawable
from downstream.tasks.evaluation import IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERED = 16  # classes; with more, the numbers in the fields could not be read
MOST_NAMED = 60  # classes; with more, their names could not be read
LONGEST = 22  # letters of a name
CELL = 0.42  # inches at most of a field, with room for a number
LETTER = 0.07  # inches of a letter, about
BAR = 0.9  # inches of the bar of colours with its name
LIGHT = 55  # percent; on darker fields numbers are white


def confusion_picture(classes: Sequence[str], counts: IntArray, name: str) -> Picture:
    """Return how often each true class (rows) was taken for each class, in percent of the true class.

    counts: (C, C), a row per true class. name: of the picture's file.
    """
    labels = drawable([shortened(label) for label in classes])
    beside = (LETTER * max(map(len, labels)) if len(labels) <= MOST_NAMED else 0.3) + 0.4
    below = 0.6 if are_across(labels) else beside
    side = min(WIDTH - beside - BAR, CELL * len(classes) + 0.4)
    size = (side + beside + BAR, side + below)
    return Picture(name, size, lambda figure: draw(figure, labels, counts), "".join(labels))


def draw(figure: Figure, classes: list[str], counts: IntArray) -> None:
    """Draw the matrix into a figure."""
    axes = figure.add_subplot()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    image = axes.imshow(shares, vmin=0, vmax=100)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(classes) <= MOST_NAMED:
        name_fields(axes, classes)
    if len(classes) <= MOST_NUMBERED:
        number_fields(axes, shares)
        separate_fields(axes, len(classes))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, label="% of the true class", ticks=range(0, 101, 25))
    bar.outline.set_visible(False)


def name_fields(axes: Axes, labels: list[str]) -> None:
    """Write the classes along both axes, as large as there is room for."""
    size = min(8.0, 230.0 / len(labels))
    axes.set_xticks(range(len(labels)), labels, rotation=0 if are_across(labels) else 90, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)


def are_across(labels: list[str]) -> bool:
    """Return True for names that have room beside each other, or are not written."""
    return len(labels) > MOST_NAMED or max(map(len, labels)) * LETTER < CELL


def number_fields(axes: Axes, shares: np.ndarray) -> None:
    """Write the percentages into the fields; nothing where there is nothing."""
    size = min(8.0, 90.0 / len(shares))
    for (row, column), share in np.ndenumerate(shares):
        if share > 0:
            text = f"{share:.0f}" if share >= 0.5 else "<1"
            colour = "white" if share > LIGHT else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def separate_fields(axes: Axes, count: int) -> None:
    """Draw white lines between the fields."""
    edges = np.arange(-0.5, count)
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)


def shortened(label: str) -> str:
    """Return a class's name in one line of at most LONGEST letters."""
    line = " ".join(label.split()).replace("$", r"\$")  # between dollars matplotlib would look for a formula
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
