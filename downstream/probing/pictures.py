"""Pictures of a probe: scores by layer and learned weights of each upstream, and all upstreams over relative depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from downstream.pictures import COLOURS, GREY, LINES, MARKERS, Picture, legend_below, panels, panels_size
from downstream.probing.probed import Probed
from downstream.probing.tables import depth
from downstream.report import (
    LayerCurve,
    draw_chance,
    draw_scores,
    draw_weights,
    has_learned_sum,
    label_score,
    number_layers,
    values_and_errors,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_IN_HALF = 13  # numbers of layers below half a page
SUM = 1.14  # where the sum of all layers stands, right of the last layer at 1


def pictures(probed: Sequence[Probed]) -> list[Picture]:
    """Return the pictures of a probe; names of upstreams in them are those of their files."""
    upstreams = {one.upstream: [other for other in probed if other.upstream == one.upstream] for one in probed}
    found: list[Picture] = []
    for name, own in upstreams.items():
        end = f"-{name}" if len(upstreams) > 1 else ""
        others = [one for one in probed if one.upstream != name and one.result.upstream.layers == 1]
        if len(upstreams) == 1 or own[0].result.upstream.layers > 1:
            found.append(score_picture(f"scores{end}", own, others))
        if learned := [one for one in own if has_learned_sum(one.result)]:
            found.append(weight_picture(f"layer_weights{end}", learned))
    return [*found, depth_picture(probed)] if len(upstreams) > 1 else found


def score_picture(name: str, probed: Sequence[Probed], others: Sequence[Probed] = ()) -> Picture:
    """Return the scores of one upstream by layer, a panel for each recipe and test part.

    others: upstreams of one layer, which are baselines.
    """
    shown = [(one.title(curve.part), curve, control) for one in probed for curve, control in one.curves()]
    titles = [title for title, *_ in shown]

    def draw(figure: Figure) -> None:
        for axes, (_, curve, control) in zip(panels(figure, titles), shown, strict=True):
            draw_scores(axes, curve, control, baselines(curve, others))
            number_in_panel(axes, curve.result.upstream.layers, len(shown))
        legend_below(figure)

    return Picture(name, panels_size(len(shown), height=2.7 if len(shown) == 1 else 2.2), draw, "".join(titles))


def baselines(curve: LayerCurve, others: Sequence[Probed]) -> dict[str, float]:
    """Return the scores of other upstreams on the same recipe and test part, by name."""
    recipe = curve.result.recipe.name
    found = {
        one.upstream: other
        for one in others
        if one.result.recipe.name == recipe
        for other, _ in one.curves()
        if other.part == curve.part
    }
    return {name: score.value for name, other in found.items() for score in other.alone.values()}


def weight_picture(name: str, probed: Sequence[Probed]) -> Picture:
    """Return the weights that heads of one upstream learned for its layers, a panel for each recipe."""
    titles = [one.task for one in probed]

    def draw(figure: Figure) -> None:
        for axes, one in zip(panels(figure, titles), probed, strict=True):
            draw_weights(axes, one.result)
            number_in_panel(axes, one.result.upstream.layers, len(probed))
        legend_below(figure, columns=4)

    return Picture(name, panels_size(len(probed), height=2.2 if len(probed) == 1 else 1.9), draw, "".join(titles))


def number_in_panel(axes: Axes, layers: int, count: int) -> None:
    """Number fewer layers where panels stand side by side."""
    if count > 1:
        number_layers(axes, layers, MOST_IN_HALF)


# ---------------------------------------------------------------- several upstreams


def depth_picture(probed: Sequence[Probed]) -> Picture:
    """Return the scores of all upstreams over relative depth, a panel for each recipe and test part."""
    shown: dict[str, list[tuple[Probed, LayerCurve, LayerCurve | None]]] = {}
    for one in probed:
        for curve, control in one.curves():
            shown.setdefault(one.title(curve.part), []).append((one, curve, control))
    upstreams = list(dict.fromkeys(one.upstream for one in probed))

    def draw(figure: Figure) -> None:
        for axes, curves in zip(panels(figure, list(shown)), shown.values(), strict=True):
            numbered = [(upstreams.index(one.upstream), curve, control) for one, curve, control in curves]
            draw_depths(axes, numbered, upstreams)
        legend_below(figure, columns=min(3, len(upstreams) + 1))

    height = 3.0 if len(shown) == 1 else 2.3
    return Picture("depth", panels_size(len(shown), height=height), draw, "".join([*shown, *upstreams]))


def draw_depths(
    axes: Axes, curves: Sequence[tuple[int, LayerCurve, LayerCurve | None]], upstreams: Sequence[str]
) -> None:
    """Draw the curves of upstreams, each with the number of its upstream; of one layer it is a line from side to side.

    The scores of their sums stand on the right, beside each other.
    """
    for number, curve, control in curves:
        colour, line, marker = (
            COLOURS[number % len(COLOURS)],
            LINES[number % len(LINES)],
            MARKERS[number % len(MARKERS)],
        )
        layers, factor = curve.result.upstream.layers, curve.type.scale
        values, errors = values_and_errors(list(curve.alone.values()), factor)
        low, high = values - errors[0], values + errors[1]
        if layers == 1:
            places, values, low, high = np.array([0.0, 1.0]), *(np.repeat(one, 2) for one in (values, low, high))
        else:
            places = np.array([depth(layer, layers) for layer in curve.alone])
        axes.plot(
            places,
            values,
            color=colour,
            linestyle=line,
            marker=marker if layers > 1 else "",
            markersize=3.5,
            label=upstreams[number],
        )
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
        if control is not None and layers > 1:
            own = [factor * score.value for score in control.alone.values()]
            at = [depth(layer, layers) for layer in control.alone]
            axes.plot(at, own, color=colour, linestyle=line, linewidth=0.7, alpha=0.7, label=None)
        if curve.together is not None and layers > 1:
            value, error = values_and_errors([curve.together], factor)
            place = SUM + 0.035 * (number - (len(upstreams) - 1) / 2)
            axes.errorbar([place], value, yerr=error, fmt=marker, color=colour, markersize=3.5)
    if any(control is not None for *_, control in curves):
        axes.plot([], [], color="black", linewidth=0.7, alpha=0.7, label="thin: untrained")
    draw_chance(axes, curves[0][1])
    axes.axvline((1 + SUM) / 2 - 0.01, color=GREY, linewidth=0.5)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1, SUM], ["0", "0.25", "0.5", "0.75", "1", "all"])
    axes.set_xlim(-0.04, SUM + 0.09)
    axes.set_xlabel("relative depth")
    label_score(axes, curves[0][1])
