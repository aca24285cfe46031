"""The one style of every picture, for families, reports and the documentation."""

from downstream.pictures.fonts import drawable
from downstream.pictures.style import (
    COLOURS,
    ENDINGS,
    GREY,
    LINES,
    MARKERS,
    WIDTH,
    Picture,
    legend_below,
    panels,
    panels_size,
)

__all__ = [
    "COLOURS",
    "ENDINGS",
    "GREY",
    "LINES",
    "MARKERS",
    "Picture",
    "WIDTH",
    "drawable",
    "legend_below",
    "panels",
    "panels_size",
]
