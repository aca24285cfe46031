"""Learning curves: training loss and development score of every chosen head, by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from downstream.pictures import COLOURS, LINES, WIDTH, Picture, legend_below
from downstream.results import FitRecord, MetricRecord, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 7  # heads that have a colour and a name each; of more, all are alike


def learning_picture(result: Result) -> Picture | None:
    """Return the curves of the chosen heads of the first layer setting; None where nothing was learned in steps."""
    fits = chosen_fits(result)
    if not fits:
        return None
    metric = result.metric_types[result.select]
    height = 4.2 + (0.18 * ((len(fits) + 2) // 3) if len(fits) <= NAMED else 0.18)
    names = names_of(fits)
    return Picture("learning_curves", (WIDTH, height), lambda figure: draw(figure, fits, names, metric), "".join(names))


def chosen_fits(result: Result) -> list[FitRecord]:
    """Return the fits behind the chosen heads of the first layer setting that have a curve of several points."""
    heads = {(head.fold, head.seed, head.layer, head.lr) for head in result.primary_heads()}
    chosen = [fit for fit in result.grid if (fit.fold, fit.seed, fit.layer, fit.lr) in heads]
    return [fit for fit in chosen if fit.chosen and len(fit.curve) > 1]


def names_of(fits: Sequence[FitRecord]) -> list[str]:
    """Return the fold and seed of each fit, as far as they differ."""
    folds, seeds = {fit.fold for fit in fits}, {fit.seed for fit in fits}
    names = [
        ", ".join(([fit.fold] if len(folds) > 1 else []) + ([f"seed {fit.seed}"] if len(seeds) > 1 else []))
        for fit in fits
    ]
    return names if any(names) else ["head"] * len(fits)


def draw(figure: Figure, fits: Sequence[FitRecord], names: Sequence[str], metric: MetricRecord) -> None:
    """Draw loss above score, with the chosen step of each head on both."""
    above, below = figure.subplots(2, sharex=True)
    factor = metric.scale
    is_named = 1 < len(fits) <= NAMED
    for number, (fit, name) in enumerate(zip(fits, names, strict=True)):
        style = {"color": COLOURS[0], "alpha": max(0.25, 2.5 / len(fits)), "linewidth": 0.9}
        if len(fits) <= NAMED:
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}
        losses = [(step, loss) for step, loss, _ in fit.curve if loss is not None]
        scores = [(step, factor * score) for step, _, score in fit.curve if score is not None]
        for axes, points in ((above, losses), (below, scores)):
            label = name if is_named and axes is below else None
            axes.plot([step for step, _ in points], [value for _, value in points], label=label, **style)
            mark_chosen(axes, points, fit.step, str(style["color"]))
    above.set_ylabel("training loss")
    below.set_ylabel(f"development {metric.heading}")
    below.set_xlabel("step")
    below.margins(x=0.02)
    below.plot([], [], "o", color="0.3", markeredgecolor="white", label="chosen step")
    legend_below(figure, columns=min(4, len(fits) + 1 if is_named else 1))


def mark_chosen(axes: Axes, points: Sequence[tuple[int, float]], step: int, colour: str) -> None:
    """Mark the chosen step on a curve, if it was evaluated there."""
    for at, value in points:
        if at == step:
            axes.plot(at, value, "o", color=colour, markeredgecolor="white", markeredgewidth=0.8, zorder=3)
