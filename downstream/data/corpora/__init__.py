"""Corpora by name: a reader each, and the catalogue of them."""

from typing import TYPE_CHECKING

from downstream.data.corpora.cards import MANIFEST_FILE
from downstream.data.corpora.catalog import describe, find_card, load_corpus
from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from downstream.data.corpora.class_folders import manifest_csv as manifest_csv
    from downstream.data.corpora.class_folders import scanned as scanned
else:
    reader = "downstream.data.corpora.class_folders"
    __getattr__ = lazy_exports(__name__, {"manifest_csv": reader, "scanned": reader})

__all__ = [
    "MANIFEST_FILE",
    "describe",
    "find_card",
    "load_corpus",
    "manifest_csv",
    "scanned",
]
