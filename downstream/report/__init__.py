"""Display of records: tables and lines for the terminal, pictures, published scores beside them."""

from downstream.report.comparable import Comparison, compared, published_for, published_upstream, why_incomparable
from downstream.report.layer_curve import (
    LayerCurve,
    choices,
    development_scores,
    learns,
    mean_development,
    sum_name,
)
from downstream.report.overall import Overall, cells_of, overall_score
from downstream.report.plots import (
    PLOTS,
    draw_chance,
    draw_scores,
    draw_weights,
    has_learned_sum,
    label_score,
    layer_score_picture,
    learned_weights,
    number_layers,
    pictures_of,
    shares_of,
    values_and_errors,
    write_pictures,
    write_plots,
)
from downstream.report.published import ReferenceScore, published, read_reference_scores
from downstream.report.tables import interval_of, layer_table, tables_of
from downstream.report.terminal import describe_upstream, duration, score_line, show, states_line, used_line

__all__ = [
    "PLOTS",
    "Overall",
    "cells_of",
    "interval_of",
    "overall_score",
    "Comparison",
    "LayerCurve",
    "ReferenceScore",
    "choices",
    "compared",
    "describe_upstream",
    "development_scores",
    "draw_chance",
    "draw_scores",
    "draw_weights",
    "duration",
    "has_learned_sum",
    "label_score",
    "layer_score_picture",
    "layer_table",
    "learned_weights",
    "learns",
    "mean_development",
    "number_layers",
    "pictures_of",
    "published",
    "published_for",
    "published_upstream",
    "read_reference_scores",
    "score_line",
    "shares_of",
    "show",
    "states_line",
    "sum_name",
    "tables_of",
    "used_line",
    "values_and_errors",
    "why_incomparable",
    "write_pictures",
    "write_plots",
]
