"""From a corpus to utterances, folds and audio. Read `dataset.py` first; `corpora/` holds the readers.

Names are imported when they are first used, so that listing the corpora does not import torch.
"""

from typing import TYPE_CHECKING

from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from downstream.data.all_data import on_all_data as on_all_data
    from downstream.data.audio import AUDIO_SUFFIXES as AUDIO_SUFFIXES
    from downstream.data.audio import Window as Window
    from downstream.data.choice import Choice as Choice
    from downstream.data.corpora.catalog import find_card as find_card
    from downstream.data.corpora.catalog import load_corpus as load_corpus
    from downstream.data.corpora.csv_table import read_table as read_table
    from downstream.data.corpora.table import Table as Table
    from downstream.data.corpora.table import corpus_of as corpus_of
    from downstream.data.corpus import Corpus as Corpus
    from downstream.data.corpus import Utterance as Utterance
    from downstream.data.corpus import segments_digest as segments_digest
    from downstream.data.corpus_inspection import inspected_items as inspected_items
    from downstream.data.corpus_inspection import recordings_kept as recordings_kept
    from downstream.data.dataset import Dataset as Dataset
    from downstream.data.dataset import Part as Part
    from downstream.data.dataset import Targets as Targets
    from downstream.data.dataset import development_part as development_part
    from downstream.data.dataset import left_out as left_out
    from downstream.data.dataset import parts_of_test as parts_of_test
    from downstream.data.dataset import read_dataset as read_dataset
    from downstream.data.effects import Effects as Effects
    from downstream.data.named_recordings import NamedRecording as NamedRecording
    from downstream.data.named_recordings import NamedRecordings as NamedRecordings
    from downstream.data.named_recordings import recordings_named as recordings_named
    from downstream.data.narrowed import on_folds as on_folds
    from downstream.data.narrowed import without_training as without_training
    from downstream.data.noise import consecutive_windows as consecutive_windows
    from downstream.data.sampling import class_weights as class_weights
    from downstream.data.sampling import draw_balanced as draw_balanced
    from downstream.data.splits import Fold as Fold
    from downstream.data.splits import Split as Split
    from downstream.data.splits import speaker_folds as speaker_folds
    from downstream.data.text_files import read_lines as read_lines
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "AUDIO_SUFFIXES": "downstream.data.audio",
            "Choice": "downstream.data.choice",
            "Corpus": "downstream.data.corpus",
            "Dataset": "downstream.data.dataset",
            "Effects": "downstream.data.effects",
            "Fold": "downstream.data.splits",
            "NamedRecording": "downstream.data.named_recordings",
            "NamedRecordings": "downstream.data.named_recordings",
            "Part": "downstream.data.dataset",
            "Split": "downstream.data.splits",
            "Targets": "downstream.data.dataset",
            "Utterance": "downstream.data.corpus",
            "Window": "downstream.data.audio",
            "Table": "downstream.data.corpora.table",
            "class_weights": "downstream.data.sampling",
            "consecutive_windows": "downstream.data.noise",
            "corpus_of": "downstream.data.corpora.table",
            "find_card": "downstream.data.corpora.catalog",
            "inspected_items": "downstream.data.corpus_inspection",
            "load_corpus": "downstream.data.corpora.catalog",
            "recordings_kept": "downstream.data.corpus_inspection",
            "development_part": "downstream.data.dataset",
            "draw_balanced": "downstream.data.sampling",
            "left_out": "downstream.data.dataset",
            "on_all_data": "downstream.data.all_data",
            "on_folds": "downstream.data.narrowed",
            "without_training": "downstream.data.narrowed",
            "parts_of_test": "downstream.data.dataset",
            "read_dataset": "downstream.data.dataset",
            "read_lines": "downstream.data.text_files",
            "read_table": "downstream.data.corpora.csv_table",
            "recordings_named": "downstream.data.named_recordings",
            "segments_digest": "downstream.data.corpus",
            "speaker_folds": "downstream.data.splits",
        },
    )

__all__ = [
    "AUDIO_SUFFIXES",
    "Choice",
    "Corpus",
    "Dataset",
    "Effects",
    "Fold",
    "NamedRecording",
    "NamedRecordings",
    "Part",
    "Split",
    "Table",
    "Targets",
    "Utterance",
    "Window",
    "class_weights",
    "consecutive_windows",
    "corpus_of",
    "development_part",
    "draw_balanced",
    "find_card",
    "inspected_items",
    "left_out",
    "load_corpus",
    "on_all_data",
    "on_folds",
    "parts_of_test",
    "read_dataset",
    "read_lines",
    "read_table",
    "recordings_kept",
    "recordings_named",
    "segments_digest",
    "speaker_folds",
    "without_training",
]
