"""Records of runs: their type, their folders, building them, and reading them back."""

from downstream.results.artifacts import FINAL, HEADS
from downstream.results.build import build_record
from downstream.results.earlier import Earlier, finished, learned_before
from downstream.results.folder import RECORD, SNAPSHOT, begin, discard, tidy
from downstream.results.head_file import (
    FoldOutputs,
    HeadFile,
    HeadTensors,
    head_name,
    of_record,
    opened_heads,
    written_heads,
)
from downstream.results.integrity import altered
from downstream.results.names import slug
from downstream.results.place import Place
from downstream.results.question import Question
from downstream.results.reading import load_results
from downstream.results.record import FitRecord, HeadRecord, MetricRecord, Result, Score, Timing, read_result
from downstream.results.recording import UnwrittenError, record_run
from downstream.results.run import Run

__all__ = [
    "Earlier",
    "FINAL",
    "FitRecord",
    "FoldOutputs",
    "HEADS",
    "HeadFile",
    "HeadRecord",
    "HeadTensors",
    "MetricRecord",
    "Place",
    "Question",
    "RECORD",
    "Result",
    "Run",
    "SNAPSHOT",
    "Score",
    "Timing",
    "UnwrittenError",
    "altered",
    "begin",
    "build_record",
    "discard",
    "finished",
    "head_name",
    "learned_before",
    "load_results",
    "of_record",
    "opened_heads",
    "read_result",
    "record_run",
    "slug",
    "tidy",
    "written_heads",
]
