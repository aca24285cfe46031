"""Records in the forms that others read: SUPERB's submission, the hub's model-index, a LaTeX table."""

from downstream.exports.exporting import ENDINGS, export_records
from downstream.exports.latex_table import latex_table
from downstream.exports.model_index import model_card
from downstream.exports.superb_submission import submission

__all__ = ["ENDINGS", "export_records", "latex_table", "model_card", "submission"]
