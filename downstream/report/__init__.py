"""Display of records: tables and lines for the terminal, pictures, published scores beside them."""

from downstream.report.comparable import Comparison, compared, published_for, published_upstream, why_incomparable
from downstream.report.plots import PLOTS, layer_score_picture, pictures_of, write_plots
from downstream.report.published import ReferenceScore, published, read_reference_scores
from downstream.report.tables import tables_of
from downstream.report.terminal import score_line, show

__all__ = [
    "PLOTS",
    "Comparison",
    "ReferenceScore",
    "compared",
    "layer_score_picture",
    "pictures_of",
    "published",
    "published_for",
    "published_upstream",
    "read_reference_scores",
    "score_line",
    "show",
    "tables_of",
    "why_incomparable",
    "write_plots",
]
