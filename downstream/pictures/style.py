"""Colours, fonts and sizes of all pictures, and the bytes of a picture, which are the same for the same content.

Okabe and Ito's colours can be told apart with any kind of colour vision; those that are far apart in lightness, and so
in print without colour, come first. Line styles differ besides.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from downstream.pictures.fonts import families_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#000000", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*"
GREY = "0.45"  # of what other values are compared with: chance, an even weight

WIDTH = 6.5  # inches: the text of a page
DOTS = 200  # an inch, of PNG
ENDINGS = ("png", "svg")

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": "0.9",
    "grid.linewidth": 0.7,
    "errorbar.capsize": 2.5,
    "image.cmap": "Blues",  # from white on, one hue: more ink is more
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "wavprobe",  # of names within the file, which are drawn at random otherwise
    "svg.fonttype": "path",  # looks alike where a font is missing
}


@dataclass(frozen=True)
class Picture:
    """A picture that can be drawn in several formats.

    name: of its file, without an ending. size: width and height in inches. draw: draws into an empty figure.
    text: letters from outside (names of classes), for which a font is looked for.
    """

    name: str
    size: tuple[float, float]
    draw: Callable[[Figure], None]
    text: str = ""

    def _repr_png_(self) -> bytes:
        """Show the picture in a notebook."""
        return self.rendered()

    def rendered(self, ending: str = "png") -> bytes:
        """Return the file's content: "png" or "svg"; the same picture gives the same bytes."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        stream = io.BytesIO()
        style: Any = STYLE | {"font.family": families_for(self.text)}
        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # whatever the user's own matplotlibrc says
            matplotlib.rcParams.update(style)
            figure = Figure(figsize=self.size, dpi=DOTS, layout="constrained")
            FigureCanvasAgg(figure)  # attaches itself; no display is needed
            self.draw(figure)
            # Neither matplotlib's version nor the time is a part of the picture.
            metadata: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[ending]
            figure.savefig(stream, format=ending, metadata=metadata)
        return stream.getvalue()


def legend_below(figure: Figure, columns: int = 2) -> None:
    """Draw the legend below the axes, within which it would hide some curve; what has bars comes first.

    What several axes name alike is named once.
    """
    from matplotlib.container import Container

    entries = [entry for axes in figure.axes for entry in zip(*axes.get_legend_handles_labels(), strict=True)]
    named = list({label: (handle, label) for handle, label in reversed(entries)}.values())[::-1]
    named.sort(key=lambda entry: not isinstance(entry[0], Container))
    if named:
        figure.legend(*zip(*named, strict=True), loc="outside lower center", ncols=columns)


def panels(figure: Figure, titles: Sequence[str], columns: int = 2) -> list[Axes]:
    """Return small axes beside and below each other, each with its title if there are several."""
    columns = min(columns, len(titles))
    grid = figure.subplots(-(-len(titles) // columns), columns, squeeze=False).ravel()
    for axes in grid[len(titles) :]:
        axes.set_axis_off()
    made = list(grid[: len(titles)])
    for axes, title in zip(made, titles, strict=True):
        if len(titles) > 1:
            axes.set_title(title, fontsize=9, loc="left")
    return made


def panels_size(count: int, columns: int = 2, height: float = 2.2, legend: float = 0.7) -> tuple[float, float]:
    """Return width and height, in inches, of a figure of so many panels; height: of a row; legend: of what is below."""
    return WIDTH, height * -(-count // min(columns, count)) + legend
