"""The corpora by name, and the one way to load any of them. Imports neither torch nor datasets by itself."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from downstream.corpora.cards import CARDS, CorpusCard
from upstream.errors import MendableError

if TYPE_CHECKING:
    from downstream.corpora.table import Corpus

CORPORA: tuple[str, ...] = tuple(card.name for card in CARDS)


class CorpusRow(NamedTuple):
    """One line of the list of corpora; all of it text."""

    name: str
    title: str
    size: str
    licence: str
    how: str


def describe() -> list[CorpusRow]:
    """What there is to list: one row per corpus."""
    how = {card.name: card.how() for card in CARDS} | {"demo": "made on this machine"}
    return [CorpusRow(card.name, card.title, card.size(), card.licence, how[card.name]) for card in CARDS]


def find_card(name: str) -> CorpusCard:
    """The card of the corpus `name`; raise MendableError, with the nearest right name, where there is none."""
    for card in CARDS:
        if card.name == name:
            return card
    near = difflib.get_close_matches(name.lower().replace("-", "_"), CORPORA, n=1)
    suggestion = f"did you mean {near[0]}? " if near else ""
    raise MendableError(f"There is no corpus {name!r}; {suggestion}The corpora are {', '.join(CORPORA)}.")


def load_corpus(name: str, data: Path | None, cache: Path, seed: int = 0) -> Corpus:
    """Load a corpus from its folder, else from the folder its environment variable names, else from the hub.

    name: one of `CORPORA`.
    data: folder of the corpus in its published layout.
    cache: where the synthesised demo corpus is kept.
    seed: of the synthesis; other corpora have no chance in them.

    Raises MendableError for a wrong name, a folder that is not the corpus, and where there is no data at all.
    """
    card = find_card(name)
    if name == "demo":
        return load_demo(data, cache, seed)
    folder = data or folder_from_environment(card)
    if folder is not None:
        return reader(card)(folder)
    if card.hub is not None:
        from downstream.corpora import hub

        return hub.read(card, importlib.import_module(f"downstream.corpora.{name}").utterance)
    variable = f" (or set {card.variable} to it)" if card.variable is not None else ""
    raise MendableError(
        f"No data was given for {card.title}: type --data DIR with the folder that holds {card.layout}{variable}. "
        f"{card.where}"
    )


def reader(card: CorpusCard) -> Callable[[Path], Corpus]:
    """The function that reads a corpus from its folder."""
    module, _, function = (card.reader or f"{card.name}:read").partition(":")
    return cast("Callable[[Path], Corpus]", getattr(importlib.import_module(f"downstream.corpora.{module}"), function))


def folder_from_environment(card: CorpusCard) -> Path | None:
    """The folder that the corpus's environment variable names; None if there is none."""
    value = os.environ.get(card.variable, "") if card.variable is not None else ""
    if not value:
        return None
    if not Path(value).is_dir():
        raise MendableError(f"{card.variable} names {value}, which is no folder; set it right, or give --data DIR.")
    return Path(value)


def load_demo(data: Path | None, cache: Path, seed: int) -> Corpus:
    """The demo corpus, synthesised into `cache` where it is not there yet."""
    if data is not None:
        raise MendableError(
            "The demo corpus is made on this machine and reads no folder; leave --data out, "
            "or choose the corpus of that folder with -c."
        )
    demo = importlib.import_module("downstream.corpora.demo")
    return cast("Corpus", demo.load(cache, seed))
