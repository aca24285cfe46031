"""Pictures of a record: those of every family, and its family's own."""

from downstream.report.plots.layer_plots import (
    draw_chance,
    draw_scores,
    draw_weights,
    has_learned_sum,
    label_score,
    layer_score_picture,
    learned_weights,
    number_layers,
    shares_of,
    values_and_errors,
)
from downstream.report.plots.plots import PLOTS, pictures_of, write_pictures, write_plots

__all__ = [
    "PLOTS",
    "draw_chance",
    "draw_scores",
    "draw_weights",
    "has_learned_sum",
    "label_score",
    "layer_score_picture",
    "learned_weights",
    "number_layers",
    "pictures_of",
    "shares_of",
    "values_and_errors",
    "write_pictures",
    "write_plots",
]
