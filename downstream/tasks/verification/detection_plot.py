"""Detection error trade-off: plot and table of a verification's errors."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike

from downstream.tasks.verification.error_rates import FloatArray, detection_curve, equal_error_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 98, 99)  # percent

# Percent. The picture begins at the first; it ends at the first of the others that leaves room for every curve.
LEAST, MOST = 0.1, (40, 60, 80, 95, 99)
ROOM = 1.5  # the picture shows at least this many times the largest equal error rate

RATE_BEYOND = 1e-9  # replaces rates of zero, whose normal deviate is infinite: far outside the picture

# Okabe and Ito's colours that can be told apart with any kind of colour vision, dark ones first; line styles besides.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")


def detection_plot(curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> bytes:
    """Return a PNG of detection error trade-off curves with their equal error rates (Martin et al., Eurospeech 1997).

    Axes are normal deviates of the rates, on which normally distributed scores give a straight line. A curve that
    leaves the picture has smaller rates than it shows; a rate that is too small is marked on the edge.

    curves: name -> (scores (N,), target (N,)). The same curves give the same bytes. Raises UserError for scores
    that have no curve (`detection_curve`).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 6.2 + 0.2 * len(curves)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # attaches itself; no display is needed
    axes = figure.add_subplot()
    rates = {name: equal_error_rate(*trials)[0] for name, trials in curves.items()}
    most = upper_limit(max(rates.values(), default=0.0))
    axes.axline((0, 0), slope=1, color="0.8", linewidth=1)
    for number, (name, trials) in enumerate(curves.items()):
        false_alarm, miss, _ = detection_curve(*trials)
        colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
        label = f"{name}: EER {100 * rates[name]:.2f} %"
        axes.plot(deviates(false_alarm), deviates(miss), style, color=colour, linewidth=1.5, label=label)
        mark = deviates(np.clip([rates[name]], LEAST / 100, most / 100))
        axes.plot(mark, mark, "o", color=colour, markersize=6, markeredgecolor="white", clip_on=False, zorder=3)
    draw_axes(axes, most)
    figure.legend(loc="outside lower center", frameon=False)  # within the axes it would hide some curve
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})  # matplotlib's version is no part of the picture
    return stream.getvalue()


def draw_axes(axes: Axes, most: float) -> None:
    """Draw square axes from LEAST to `most` percent, with ticks, names and a grid."""
    ticks = [tick for tick in TICKS if tick <= most]
    limits = deviates(np.array([LEAST, most]) / 100)
    for axis, name in ((axes.xaxis, "False alarms (%)"), (axes.yaxis, "Misses (%)")):
        label_axis(axis, ticks, name)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


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
