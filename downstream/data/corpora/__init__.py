"""Corpora by name: a reader each, and the catalogue of them."""

from downstream.data.corpora.catalog import describe, find_card, load_corpus

__all__ = [
    "describe",
    "find_card",
    "load_corpus",
]
