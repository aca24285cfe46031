"""The reader of each corpus, which is imported when it reads."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from downstream.data.corpora.cards import CorpusCard

if TYPE_CHECKING:
    from downstream.data.corpus import Corpus


def reader(card: CorpusCard) -> Callable[[Path], Corpus]:
    """The function that reads a corpus from its folder."""
    module, _, function = (card.reader or f"{card.name}:read").partition(":")
    return cast(
        "Callable[[Path], Corpus]", getattr(importlib.import_module(f"downstream.data.corpora.{module}"), function)
    )
