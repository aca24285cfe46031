"""Display of records: tables and lines for the terminal, pictures, published scores beside them."""

from downstream.report.plots import PLOTS, layer_score_picture, pictures_of, write_plots
from downstream.report.published import published
from downstream.report.tables import tables_of
from downstream.report.terminal import score_line, show

__all__ = ["PLOTS", "layer_score_picture", "pictures_of", "published", "score_line", "show", "tables_of", "write_plots"]
