"""Detection error trade-off: plot and table of a verification's errors."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike

from downstream.pictures import COLOURS, LINES, Picture, legend_below
from downstream.tasks.head_on_part import HeadOnPart
from downstream.tasks.verification.error_rates import FloatArray, detection_curve, equal_error_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 98, 99)  # percent
NAMED = 8  # curves in the legend; of more, the mean of their rates says enough

# Percent. The picture begins at the first; it ends at the first of the others that leaves room for every curve.
LEAST, MOST = 0.1, (40, 60, 80, 95, 99)
ROOM = 1.5  # the picture shows at least this many times the largest equal error rate

RATE_BEYOND = 1e-9  # replaces rates of zero, whose normal deviate is infinite: far outside the picture


@dataclass(frozen=True)
class DetectionCurve:
    """False-alarm and miss rates, (P,) each, by falling threshold, and the equal error rate."""

    false_alarm: FloatArray
    miss: FloatArray
    equal: float

    @classmethod
    def of(cls, scores: ArrayLike, target: ArrayLike) -> DetectionCurve:
        """Return the curve of trials, (N,) each; raises UserError for scores that have none (`detection_curve`)."""
        false_alarm, miss, _ = detection_curve(scores, target)
        return cls(false_alarm, miss, equal_error_rate(scores, target)[0])

    @classmethod
    def of_table(cls, content: str, equal: float) -> DetectionCurve:
        """Return the curve of a `detection_table`."""
        rows = list(csv.DictReader(io.StringIO(content)))
        false_alarm, miss = (np.array([float(row[name]) for row in rows]) for name in ("false_alarm", "miss"))
        return cls(false_alarm, miss, equal)


def detection_picture(curves: Mapping[str, DetectionCurve], name: str = "det") -> Picture:
    """Return detection error trade-off curves with their equal error rates (Martin et al., Eurospeech 1997).

    Axes are normal deviates of the rates, on which normally distributed scores give a straight line. A curve that
    leaves the picture has smaller rates than it shows; a rate that is too small is marked on the edge.
    """
    lines = (min(len(curves), NAMED) + 1) // 2
    return Picture(name, (4.6, 4.5 + 0.18 * lines), partial(draw, curves=curves), "".join(curves))


def detection_pictures(heads: Sequence[HeadOnPart]) -> list[Picture]:
    """Return the curves of heads in one picture, from the tables beside their record; none without these."""
    folds, parts, seeds = ({getattr(head, key) for head in heads} for key in ("fold", "part", "seed"))
    curves = {}
    for head in heads:
        several = ((head.fold, folds), (head.part, parts), (f"seed {head.seed}", seeds))
        name = ", ".join(value for value, all_of_them in several if len(all_of_them) > 1) or head.part
        if (table := head.file("det.csv")) is not None:
            curves[name] = DetectionCurve.of_table(table.read_text(encoding="utf-8"), head.metrics["eer"])
    return [detection_picture(curves)] if curves else []


def detection_plot(curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> bytes:
    """Return the PNG of a `detection_picture`.

    curves: name -> (scores (N,), target (N,)). Raises UserError for scores that have no curve.
    """
    return detection_picture({name: DetectionCurve.of(*trials) for name, trials in curves.items()}).rendered()


def draw(figure: Figure, curves: Mapping[str, DetectionCurve]) -> None:
    """Draw the curves into a figure."""
    axes = figure.add_subplot()
    most = upper_limit(max((curve.equal for curve in curves.values()), default=0.0))
    axes.axline((0, 0), slope=1, color="0.8", linewidth=0.7)
    for number, (name, curve) in enumerate(curves.items()):
        colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
        label = f"{name}: EER {100 * curve.equal:.2f} %" if len(curves) <= NAMED else None
        axes.plot(deviates(curve.false_alarm), deviates(curve.miss), line, color=colour, label=label)
        mark = deviates(np.clip([curve.equal], LEAST / 100, most / 100))
        axes.plot(mark, mark, "o", color=colour, markeredgecolor="white", clip_on=False, zorder=3)
    draw_axes(axes, most)
    if len(curves) > NAMED:
        mean = float(np.mean([curve.equal for curve in curves.values()]))
        axes.plot([], [], "o", color="0.3", label=f"EER of {len(curves)} curves, {100 * mean:.2f} % in the mean")
    legend_below(figure, columns=2 if len(curves) > 2 else 1)


def draw_axes(axes: Axes, most: float) -> None:
    """Draw square axes from LEAST to `most` percent, with ticks, names and a grid."""
    ticks = [tick for tick in TICKS if tick <= most]
    limits = deviates(np.array([LEAST, most]) / 100)
    for axis, name in ((axes.xaxis, "False alarms (%)"), (axes.yaxis, "Misses (%)")):
        label_axis(axis, ticks, name)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.grid()


def label_axis(axis: Axis, ticks: list[float], name: str) -> None:
    axis.set_ticks(deviates(np.array(ticks) / 100).tolist(), [f"{tick:g}" for tick in ticks])
    axis.set_label_text(name)


def upper_limit(rate: float) -> float:
    """Return the end of the axes, in percent, to show an equal error rate (0 to 1) with some room."""
    return next((limit for limit in MOST if limit >= 100 * ROOM * rate), MOST[-1])


def deviates(rates: FloatArray) -> FloatArray:
    """Return normal deviates of rates in [0, 1]; those of 0 and 1 are clipped far outside of any picture."""
    within = torch.from_numpy(np.clip(rates, RATE_BEYOND, 1.0 - RATE_BEYOND))
    return np.asarray(torch.special.ndtri(within).numpy(), dtype=np.float64)


def detection_table(scores: ArrayLike, target: ArrayLike, points: int = 500) -> str:
    """Return the detection curve as CSV: threshold, false-alarm rate and miss rate, by falling threshold.

    points: rows at most (two or more), spread evenly along the curve as it is drawn; the first and the last are always
    there. Every row is a point of the curve, with all digits.
    """
    false_alarm, miss, thresholds = detection_curve(scores, target)
    chosen = np.arange(len(thresholds))
    if len(chosen) > points:
        moves = np.abs(np.diff(deviates(false_alarm))) + np.abs(np.diff(deviates(miss)))
        along = np.append(0.0, np.cumsum(moves))
        chosen = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], points)))
    rows = zip(thresholds[chosen].tolist(), false_alarm[chosen].tolist(), miss[chosen].tolist(), strict=True)
    return "threshold,false_alarm,miss\n" + "".join(f"{t!r},{f!r},{m!r}\n" for t, f, m in rows)
