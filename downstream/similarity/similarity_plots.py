"""Pictures of similarity: a map of CKA between layers, and the correlation of layers with labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from downstream.pictures import COLOURS, GREY, LINES, MARKERS, WIDTH, Picture, legend_below
from downstream.similarity.measuring import Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERED = 16  # layers of all upstreams together whose values are written into the map
NARROWEST = 6  # part of all layers that a panel takes at least, so that its name fits beside it
LETTERS = 60  # of a name beside the whole map; a panel has its part of them
EDGES = 1.9  # inches beside the map: names, numbers of layers, the scale


def cka_picture(found: Similarity) -> Picture:
    """Return a map of the CKA between all layers of all upstreams, a panel for each pair of them."""
    names = list(dict.fromkeys(each.one for each in found.cka))
    return Picture("cka", (WIDTH, WIDTH - EDGES + 0.9), lambda figure: draw_map(figure, names, found), "".join(names))


def draw_map(figure: Figure, names: list[str], found: Similarity) -> None:
    """Draw the panels on and below the diagonal: those above it would say the same."""
    by_pair = {(each.one, each.other): each for each in found.cka}
    layers = [len(by_pair[name, name].values) for name in names]
    sides = [max(count, sum(layers) / NARROWEST) for count in layers]
    grid = figure.subplots(
        len(names), len(names), squeeze=False, gridspec_kw={"width_ratios": sides, "height_ratios": sides}
    )
    writes = sum(layers) <= MOST_NUMBERED
    image: Any = None
    for row, name in enumerate(names):
        for column, other in enumerate(names):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            image = draw_panel(axes, by_pair[other, name].values.T, writes)
            left, below = (in_lines(names[at], LETTERS * sides[at] / sum(sides)) for at in (row, column))
            label_edges(axes, left if column == 0 else "", below if row == len(names) - 1 else "")
    figure.colorbar(image, ax=grid, label=f"linear CKA of {found.compared}", shrink=0.6, aspect=24, pad=0.02)


def draw_panel(axes: Axes, values: np.ndarray, writes: bool) -> Any:
    """Draw one pair of upstreams, layer 0 below left; layers without variance stay hatched."""
    axes.set_facecolor("0.85")
    image = axes.imshow(values, origin="lower", vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    axes.spines[:].set_visible(False)
    if writes:
        for (row, column), value in np.ndenumerate(values):
            text = "" if np.isnan(value) else f"{max(value, 0.0):.2f}".removeprefix("0")
            axes.text(
                column, row, text, ha="center", va="center", fontsize=7, color="white" if value > 0.6 else "black"
            )
    return image


def label_edges(axes: Axes, left: str, below: str) -> None:
    """Number the layers and name the upstreams at the outer edges of the map alone."""
    rows, columns = axes.get_images()[0].get_array().shape  # type: ignore[union-attr]
    for axis, name, count in ((axes.yaxis, left, rows), (axes.xaxis, below, columns)):
        axis.set_ticks(range(0, count, 1 if count <= 7 else 4 if count <= 13 else 6))
        axis.set_tick_params(length=2)
        if not name:
            axis.set_ticklabels([])
    if left:
        axes.set_ylabel(left)
    if below:
        axes.set_xlabel(below)


def in_lines(name: str, letters: float) -> str:
    """Return a name in lines of so many letters, broken behind its marks alone: "small_wavlm_" and "trial"."""
    lines = [""]
    for part in re.split(r"(?<=[_\-./, ])", name):
        if lines[-1] and len(lines[-1] + part) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def label_picture(found: Similarity) -> Picture | None:
    """Return the correlation of every layer with the labels; None without labels."""
    if not found.labels:
        return None
    names = "".join(each.upstream for each in found.labels)
    return Picture("label_cca", (WIDTH, 3.1), lambda figure: draw_correlations(figure, found), names)


def draw_correlations(figure: Figure, found: Similarity) -> None:
    """Draw a line an upstream, over layers; over relative depth where upstreams have different numbers of them."""
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    counts = {len(each.values) for each in found.labels} - {1}
    relative = len(counts) > 1
    deepest = 1.0 if relative else max(counts, default=1) - 1
    for number, each in enumerate(found.labels):
        style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}
        if len(each.values) == 1:  # it has no depth: a level to compare with
            axes.axhline(each.values[0], label=f"{each.upstream} (one layer)", **style)
            continue
        places = np.linspace(0.0, deepest, len(each.values))
        axes.plot(places, each.values, label=each.upstream, marker=MARKERS[number % len(MARKERS)], **style)
    axes.axhline(0.0, color=GREY, linestyle=":", label="no correlation")
    axes.xaxis.set_major_locator(MaxNLocator(5 if relative else "auto", integer=not relative))
    axes.set_xlabel("relative depth" if relative else "layer")
    axes.set_ylabel(f"canonical correlation\nwith {found.column} (held out)")
    least = min(0.0, *(float(each.values.min()) for each in found.labels))
    axes.set_ylim(least - 0.03, 1.0)
    legend_below(figure)
