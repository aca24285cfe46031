"""Small drawings of the page as inline SVG, each with its sentence; attributes are numbers alone, without escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

WIDTH, HEIGHT = 320, 96  # of a curve and of bars, in the units of their own coordinates
STRIP_WIDTH, STRIP_HEIGHT = 100, 10
MARGIN = 3
MOST_POINTS = 40  # of a curve; more are thinned out


@dataclass(frozen=True)
class Drawing:
    """An SVG element's inside, and what it shows in words.

    shapes: (element's name, class, attributes).
    """

    width: int
    height: int
    shapes: tuple[tuple[str, str, str], ...]
    words: str


@dataclass(frozen=True)
class Axis:
    """A linear map from values to coordinates."""

    low: float
    high: float
    length: float
    reverse: bool = False

    def at(self, value: float) -> float:
        """Return the coordinate of a value, within the axis."""
        span = self.high - self.low
        share = min(max((value - self.low) / span, 0.0), 1.0) if span > 0 else 0.5
        return MARGIN + (1 - share if self.reverse else share) * (self.length - 2 * MARGIN)


def strip(value: float, low: float | None, high: float | None, axis: Axis, published: Sequence[float]) -> Drawing:
    """Draw a score and its interval on the common axis of a column, with published scores as marks below."""
    shapes = [("rect", "rail", box(0, 4.5, STRIP_WIDTH, 1))]
    if low is not None and high is not None:
        left, right = axis.at(low), axis.at(high)
        shapes.append(("rect", "interval", box(left, 3, max(right - left, 1), 4)))
    shapes += [("rect", "other", box(axis.at(one) - 0.75, 6, 1.5, 4)) for one in published]
    shapes.append(("rect", "point", box(axis.at(value) - 1.25, 0, 2.5, 8)))
    return Drawing(STRIP_WIDTH, STRIP_HEIGHT, tuple(shapes), "")


def curve(lines: Sequence[Sequence[tuple[int, float]]], words: str) -> Drawing | None:
    """Draw the mean of several lines over the steps that all have, in the range of their values; None for no line."""
    by_step = [dict(line) for line in lines if line]
    steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
    if len(steps) < 2:
        return None
    steps = thinned(steps)
    values = [[line[step] for line in by_step] for step in steps]
    across = Axis(steps[0], steps[-1], WIDTH)
    up = Axis(min(map(min, values)), max(map(max, values)), HEIGHT, reverse=True)
    top = [f"{across.at(step):.1f},{up.at(max(found)):.1f}" for step, found in zip(steps, values, strict=True)]
    bottom = [f"{across.at(step):.1f},{up.at(min(found)):.1f}" for step, found in zip(steps, values, strict=True)]
    mean = [f"{across.at(step):.1f},{up.at(fmean(found)):.1f}" for step, found in zip(steps, values, strict=True)]
    shapes = [("polygon", "range", f'points="{" ".join([*top, *reversed(bottom)])}"')] if len(by_step) > 1 else []
    shapes.append(("polyline", "line", f'points="{" ".join(mean)}"'))
    return Drawing(WIDTH, HEIGHT, tuple(shapes), words)


def bars(values: Sequence[float], even: float | None, words: str) -> Drawing:
    """Draw values from zero on as bars, and a line at an even share."""
    up = Axis(0.0, max(*values, even or 0.0) or 1.0, HEIGHT, reverse=True)
    wide = (WIDTH - 2 * MARGIN) / len(values)
    shapes = [
        ("rect", "bar", box(MARGIN + n * wide + 0.1 * wide, up.at(value), 0.8 * wide, up.at(0.0) - up.at(value)))
        for n, value in enumerate(values)
    ]
    if even is not None:
        shapes.append(("rect", "even", box(0, up.at(even), WIDTH, 1)))
    return Drawing(WIDTH, HEIGHT, tuple(shapes), words)


def whiskers(points: Sequence[tuple[float, float | None, float | None]], level: float | None, words: str) -> Drawing:
    """Draw scores with their intervals side by side, and a line at a level (of the weighted sum)."""
    ends = [end for point in points for end in point if end is not None] + ([] if level is None else [level])
    up = Axis(min(ends), max(ends), HEIGHT, reverse=True)
    wide = (WIDTH - 2 * MARGIN) / len(points)
    shapes = [] if level is None else [("rect", "even", box(0, up.at(level), WIDTH, 1))]
    for number, (value, low, high) in enumerate(points):
        middle = MARGIN + (number + 0.5) * wide
        if low is not None and high is not None:
            shapes.append(("rect", "interval", box(middle - 1, up.at(high), 2, max(up.at(low) - up.at(high), 1))))
        shapes.append(("rect", "point", box(middle - 3, up.at(value) - 1.5, 6, 3)))
    return Drawing(WIDTH, HEIGHT, tuple(shapes), words)


def box(x: float, y: float, width: float, height: float) -> str:
    """Return the attributes of a rectangle."""
    return f'x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"'


def thinned(steps: Sequence[int]) -> list[int]:
    """Return at most `MOST_POINTS` of the steps, evenly spaced, the first and the last among them."""
    if len(steps) <= MOST_POINTS:
        return list(steps)
    return [steps[round(n * (len(steps) - 1) / (MOST_POINTS - 1))] for n in range(MOST_POINTS)]
