"""Records of runs: their type, their folders, building them, and reading them back."""

from downstream.results.anonymous import ELSEWHERE, Anonymous
from downstream.results.artifacts import FINAL
from downstream.results.build import build_record
from downstream.results.caveats import CHANGED
from downstream.results.checking import CheckedRecord, Records, Refused, asked_layer, checked, checked_records
from downstream.results.earlier import Earlier, finished, learned_before
from downstream.results.environment import environment, machine
from downstream.results.final import final_config, lacks_final_head, record_final
from downstream.results.folder import ENCODERS, HEADS, LEARNED, RECORD, SNAPSHOT, begin, discard, tidy
from downstream.results.given import GIVEN_PROTOCOL, GivenHeads
from downstream.results.given_files import given_heads
from downstream.results.head_file import (
    EXTENDED,
    CorpusNote,
    HeadFile,
    HeadTensors,
    NamedHead,
    StatesNote,
    head_name,
    is_file_of_heads,
    of_record,
    opened_heads,
    written_heads,
)
from downstream.results.integrity import altered, digest_of
from downstream.results.names import short_name, slug
from downstream.results.phases import Phases
from downstream.results.place import Place
from downstream.results.question import Question
from downstream.results.read_items import HeadItems, heads_on_parts, items_of_heads
from downstream.results.reading import load_results, record_path
from downstream.results.rebuilding import family_and_recipe, predictor_of, rebuilt
from downstream.results.record import (
    EncoderRecord,
    FinalRecord,
    FineTuning,
    FitRecord,
    FoldOutputs,
    HeadRecord,
    MetricRecord,
    Origin,
    Result,
    Score,
    Timing,
    UpstreamRecord,
    in_words,
    read_result,
)
from downstream.results.recorded_upstream import place_of_upstream, upstream_as_recorded
from downstream.results.recording import UnwrittenError, record_run
from downstream.results.run import Run

__all__ = [
    "Anonymous",
    "CHANGED",
    "EXTENDED",
    "CheckedRecord",
    "CorpusNote",
    "Records",
    "Refused",
    "checked",
    "checked_records",
    "Earlier",
    "ELSEWHERE",
    "ENCODERS",
    "EncoderRecord",
    "FINAL",
    "FinalRecord",
    "FineTuning",
    "FitRecord",
    "FoldOutputs",
    "GIVEN_PROTOCOL",
    "GivenHeads",
    "HEADS",
    "HeadFile",
    "HeadRecord",
    "HeadTensors",
    "LEARNED",
    "MetricRecord",
    "NamedHead",
    "Origin",
    "Phases",
    "Place",
    "Question",
    "RECORD",
    "Result",
    "Run",
    "SNAPSHOT",
    "Score",
    "StatesNote",
    "HeadItems",
    "Timing",
    "UnwrittenError",
    "UpstreamRecord",
    "altered",
    "asked_layer",
    "begin",
    "build_record",
    "digest_of",
    "discard",
    "family_and_recipe",
    "environment",
    "machine",
    "final_config",
    "finished",
    "given_heads",
    "head_name",
    "heads_on_parts",
    "lacks_final_head",
    "learned_before",
    "load_results",
    "in_words",
    "is_file_of_heads",
    "of_record",
    "opened_heads",
    "place_of_upstream",
    "predictor_of",
    "read_result",
    "rebuilt",
    "record_path",
    "record_final",
    "record_run",
    "short_name",
    "slug",
    "items_of_heads",
    "tidy",
    "upstream_as_recorded",
    "written_heads",
]
