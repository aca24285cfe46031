"""Pictures of a record: those of every family, and its family's own."""

from downstream.report.plots.layer_plots import layer_score_picture
from downstream.report.plots.plots import PLOTS, pictures_of, write_plots

__all__ = ["PLOTS", "layer_score_picture", "pictures_of", "write_plots"]
