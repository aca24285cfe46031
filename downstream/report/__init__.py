"""Display of records: tables and lines for the terminal, published scores beside them."""

from downstream.report.published import published
from downstream.report.tables import tables_of
from downstream.report.terminal import score_line, show

__all__ = ["published", "score_line", "show", "tables_of"]
