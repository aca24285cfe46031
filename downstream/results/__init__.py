"""Records of runs: their type, their folders, building them, and reading them back."""

from downstream.results.build import Run, build_record
from downstream.results.earlier import learned_before
from downstream.results.folder import RECORD, begin, run_folder, write_artifacts
from downstream.results.question import Question
from downstream.results.reading import load_results
from downstream.results.record import MetricRecord, Result, Score, Timing, read_result, write_result

__all__ = [
    "MetricRecord",
    "Question",
    "RECORD",
    "Result",
    "Run",
    "Score",
    "Timing",
    "begin",
    "build_record",
    "learned_before",
    "load_results",
    "read_result",
    "run_folder",
    "write_artifacts",
    "write_result",
]
