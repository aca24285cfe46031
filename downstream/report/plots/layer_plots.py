"""Layers: the weight that heads put on each, and the score of each alone; as axes, and as pictures of a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from downstream.pictures import COLOURS, GREY, WIDTH, Picture, legend_below
from downstream.report.layer_curve import LayerCurve, learns, sum_name
from downstream.results import Result, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TICKS = 26  # numbers of layers below each other; Large has 25, and half an axes takes half of them


def layer_weight_picture(result: Result) -> Picture | None:
    """Return the mean weight of each layer, and those of every head; None where no sum of layers was learned."""
    if not has_learned_sum(result):
        return None

    def draw(figure: Any) -> None:
        draw_weights(figure.add_subplot(), result)
        legend_below(figure, columns=4)

    return Picture("layer_weights", (WIDTH, 2.7), draw)


def layer_score_picture(result: Result, others: Mapping[str, float] | None = None) -> Picture | None:
    """Return the primary score of each layer alone, with its interval, beside the weighted sum and chance.

    others: name -> value of the primary metric, to compare with. None for a record of fewer than two single layers.
    """
    curve = LayerCurve.of(result)
    if len(curve.alone) < 2:
        return None

    def draw(figure: Any) -> None:
        draw_scores(figure.add_subplot(), curve, others=others)
        legend_below(figure)

    return Picture("layer_scores", (WIDTH, 3.3), draw)


# ---------------------------------------------------------------- one axes


def draw_scores(
    axes: Axes, curve: LayerCurve, control: LayerCurve | None = None, others: Mapping[str, float] | None = None
) -> None:
    """Draw the score of each layer with its interval, that of all layers and of development's choice, and baselines.

    control: the same of an untrained upstream. others: name -> value, further baselines.
    """
    factor, alone = curve.type.scale, curve.alone
    has_ends = any(score.low is not None for score in alone.values())
    interval = ", 95 % interval" if has_ends else ""
    places = np.array(list(alone), dtype=float)
    if control is not None:
        draw_control(axes, control)
    values, errors = values_and_errors(list(alone.values()), factor)
    axes.errorbar(
        places, values, yerr=errors if has_ends else None, fmt="o", color=COLOURS[0], label=f"one layer{interval}"
    )
    if curve.together is not None and len(alone) > 1:
        draw_sum(axes, curve, curve.together)
    if curve.chosen is not None and len(alone) > 1:
        value = factor * curve.chosen.value
        axes.axhline(value, color=COLOURS[5], linestyle="-.", label="layer that development chose")
    for number, (name, value) in enumerate((others or {}).items()):
        # Dashes begin one after the other: of two equal baselines both are seen.
        axes.axhline(factor * value, color=COLOURS[3 + number % 4], linestyle=(3 * number, (3, 3)), label=name)
    draw_chance(axes, curve)
    number_layers(axes, curve.result.upstream.layers)
    label_score(axes, curve)


def draw_sum(axes: Axes, curve: LayerCurve, score: Score) -> None:
    """Draw the score of all layers together, with its interval; dashed where nothing weighs them."""
    factor, has_ends = curve.type.scale, score.low is not None and score.high is not None
    name = f"{sum_name(curve.result)}{', 95 % interval' if has_ends else ''}"
    if score.low is not None and score.high is not None:
        axes.axhspan(factor * score.low, factor * score.high, color=COLOURS[1], alpha=0.18, linewidth=0)
    line = "-" if learns(curve.result) else "--"
    axes.axhline(factor * score.value, color=COLOURS[1], linestyle=line, label=name)


def draw_control(axes: Axes, control: LayerCurve) -> None:
    """Draw the scores of the layers of an untrained upstream."""
    factor, alone = control.type.scale, control.alone
    values = [factor * score.value for score in alone.values()]
    axes.plot(
        list(alone), values, "s--", color=GREY, markerfacecolor="white", linewidth=1.0, label="one layer, untrained"
    )


def draw_chance(axes: Axes, curve: LayerCurve) -> None:
    """Draw the chance level, where it is known."""
    if curve.chance is not None:
        axes.axhline(curve.type.scale * curve.chance, color=GREY, linestyle=":", label="chance")


def draw_weights(axes: Axes, result: Result) -> None:
    """Draw the weights of the sum that heads learned; where the norms of the layers are known, their shares in it too.

    A layer's share is its weight times the mean norm of its states, of all such products.
    """
    weights = learned_weights(result)
    shares = shares_of(result)
    layers = np.arange(weights.shape[1])
    width = 0.72 if shares is None else 0.38
    offset = 0.0 if shares is None else width / 2
    axes.bar(layers - offset, weights.mean(axis=0), width=width, color=COLOURS[6], label="weight")
    if shares is not None:
        axes.bar(layers + offset, shares, width=width, color=COLOURS[0], label="weight x norm (share)")
    if len(weights) > 1:
        across = np.linspace(-width / 3, width / 3, len(weights)) if len(weights) <= 15 else np.zeros(len(weights))
        axes.plot(
            (layers[None, :] - offset + across[:, None]).ravel(),
            weights.ravel(),
            "o",
            color="black",
            markersize=1.8,
            markeredgewidth=0.3,
            markeredgecolor="white",
            label="weight of each head",
        )
    axes.axhline(1 / len(layers), color=GREY, linestyle=":", label="even")
    number_layers(axes, len(layers))
    axes.set_ylabel("share of the sum" if shares is not None else "weight")
    axes.set_ylim(0, None)


def number_layers(axes: Axes, count: int, most: int = MOST_TICKS) -> None:
    """Number the layers from 0, each one where there is room."""
    step = -(-count // most)
    axes.set_xticks(range(0, count, step))
    axes.set_xlim(-0.7, count - 0.3)
    axes.set_xlabel("layer")


def label_score(axes: Axes, curve: LayerCurve) -> None:
    """Name the metric beside the axis; of errors, that lower is better."""
    direction = "" if curve.type.higher_is_better else "\n(lower is better)"
    axes.set_ylabel(f"{curve.type.heading}{direction}")


# ---------------------------------------------------------------- numbers


def values_and_errors(scores: list[Score], factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return values, (S,), and their distances from the ends of the intervals, (2, S): zero where there is none."""
    values = np.array([score.value for score in scores])
    low = np.array([score.value if score.low is None else score.low for score in scores])
    high = np.array([score.value if score.high is None else score.high for score in scores])
    errors = np.maximum(0.0, np.array([values - low, high - values]))
    return factor * values, factor * errors


def has_learned_sum(result: Result) -> bool:
    """Return True for a record whose heads learned the weights of a sum of several layers."""
    return learns(result) and result.upstream.layers > 1 and len(learned_weights(result)) > 0


def learned_weights(result: Result) -> np.ndarray:
    """Return the weights of the heads that read the sum of all layers, (H, L), whichever setting has them."""
    summed = {(head.fold, head.seed): head.layer_weights for head in result.heads if head.layer is None}
    return np.array(list(summed.values()))


def shares_of(result: Result) -> np.ndarray | None:
    """Return the mean weight of each layer times its norm as a share of all such, (L,); None without norms."""
    if result.layer_norms is None:
        return None
    return np.array(result.layer_shares(learned_weights(result).mean(axis=0).tolist()))
