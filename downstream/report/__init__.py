"""Display of records: tables and lines for the terminal, pictures, published scores beside them."""

from downstream.report.comparable import Comparison, compared, published_for, published_upstream, why_incomparable
from downstream.report.plots import PLOTS, layer_score_picture, pictures_of, write_plots
from downstream.report.published import ReferenceScore, published, read_reference_scores
from downstream.report.tables import tables_of
from downstream.report.terminal import describe_upstream, duration, score_line, show, states_line, used_line

__all__ = [
    "PLOTS",
    "Comparison",
    "ReferenceScore",
    "compared",
    "describe_upstream",
    "duration",
    "layer_score_picture",
    "pictures_of",
    "published",
    "published_for",
    "published_upstream",
    "read_reference_scores",
    "score_line",
    "show",
    "states_line",
    "tables_of",
    "used_line",
    "why_incomparable",
    "write_plots",
]
