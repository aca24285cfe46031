"""Layers: the weight that heads put on each, and the score of each alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from downstream.pictures import COLOURS, GREY, WIDTH, Picture, legend_below
from downstream.recipes import BEST
from downstream.results import Result, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TICKS = 26  # numbers of layers below each other; Large has 25


def layer_weight_picture(result: Result) -> Picture | None:
    """Return the mean weight of each layer, and those of every head; None where no layers are summed."""
    weights = np.array([head.layer_weights for head in result.primary_heads() if head.layer is None])
    if weights.size == 0 or weights.shape[1] < 2:
        return None
    return Picture("layer_weights", (WIDTH, 2.7), lambda figure: draw_weights(figure, weights))


def draw_weights(figure: Figure, weights: np.ndarray) -> None:
    """Draw the weights, (H, L) of H heads."""
    axes = figure.add_subplot()
    layers = np.arange(weights.shape[1])
    axes.bar(layers, weights.mean(axis=0), width=0.72, color=COLOURS[6], label="mean" if len(weights) > 1 else None)
    if len(weights) > 1:
        across = np.linspace(-0.24, 0.24, len(weights)) if len(weights) <= 12 else np.zeros(len(weights))
        places = layers[None, :] + across[:, None]
        axes.plot(
            places.ravel(),
            weights.ravel(),
            "o",
            color="black",
            markersize=2.6,
            markeredgewidth=0.4,
            markeredgecolor="white",
            label="each head",
        )
    axes.axhline(1 / len(layers), color=GREY, linestyle=":", label="even weights")
    number_layers(axes, len(layers))
    axes.set_ylabel("weight")
    axes.set_ylim(0, None)
    legend_below(figure, columns=3)


def layer_score_picture(result: Result, others: Mapping[str, float] | None = None) -> Picture | None:
    """Return the primary score of each layer alone, with its interval, beside the weighted sum and chance.

    others: name -> value of the primary metric, to compare with. None for a record of fewer than two single layers.
    """
    scores = {layer.layer: layer.score(result.primary.name) for layer in result.layers}
    alone = {layer: score for layer, score in scores.items() if isinstance(layer, int)}
    if len(alone) < 2:
        return None
    names = {None: "weighted sum of all layers", BEST: "layer that development chose"}
    together = {name: scores[setting] for setting, name in names.items() if setting in scores}
    return Picture(
        "layer_scores", (WIDTH, 3.3), lambda figure: draw_scores(figure, alone, together, result, others or {})
    )


def draw_scores(
    figure: Figure,
    alone: Mapping[int, Score],
    together: Mapping[str, Score],
    result: Result,
    others: Mapping[str, float],
) -> None:
    """Draw the scores; together: by name, those of settings that are no single layer."""
    axes = figure.add_subplot()
    metric = result.metric_types[result.primary.name]
    factor = metric.scale
    values = [factor * score.value for score in alone.values()]
    has_ends = any(score.low is not None for score in alone.values())
    ends = [
        [factor * (score.value if end is None else end) for end in (score.low, score.high)] for score in alone.values()
    ]
    errors = np.array([[value - low, high - value] for value, (low, high) in zip(values, ends, strict=True)]).T
    interval = ", 95 % interval" if has_ends else ""
    axes.errorbar(
        list(alone), values, yerr=errors if has_ends else None, fmt="o", color=COLOURS[0], label=f"one layer{interval}"
    )
    for (name, score), colour in zip(together.items(), (COLOURS[1], COLOURS[5]), strict=False):
        if score.low is not None and score.high is not None:
            axes.axhspan(factor * score.low, factor * score.high, color=colour, alpha=0.18, linewidth=0)
        axes.axhline(factor * score.value, color=colour, label=f"{name}{interval}")
    for number, (name, value) in enumerate(others.items()):
        axes.axhline(factor * value, color=COLOURS[3 + number % 4], linestyle="--", label=name)
    axes.axhline(factor * result.chance, color=GREY, linestyle=":", label="chance")
    number_layers(axes, max(alone) + 1)
    axes.set_ylabel(metric.heading)
    axes.set_ylim(0, None)
    legend_below(figure)


def number_layers(axes: Axes, count: int) -> None:
    """Number the layers from 0, each one where there is room."""
    step = 1 if count <= MOST_TICKS else 1 + count // MOST_TICKS
    axes.set_xticks(range(0, count, step))
    axes.set_xlim(-0.7, count - 0.3)
    axes.set_xlabel("layer")
