"""Comparison of runs on the same test items: paired tests, and how they are shown."""

from downstream.comparison.comparing import Comparisons, compare_runs
from downstream.comparison.comparison import Comparison
from downstream.comparison.difference import Difference
from downstream.comparison.exact_tests import McNemar, holm
from downstream.comparison.side import Side
from downstream.comparison.words import by_test, comparison_table, notes, verdict

__all__ = [
    "Comparison",
    "Comparisons",
    "Difference",
    "McNemar",
    "Side",
    "by_test",
    "compare_runs",
    "comparison_table",
    "holm",
    "notes",
    "verdict",
]
