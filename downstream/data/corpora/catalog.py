"""Names of the corpora, and `load_corpus`. Imports neither torch nor datasets, so that listing is instant."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from downstream.data.corpora.cards import CARDS, CorpusCard
from downstream.data.corpora.readers import reader
from upstream.errors import UserError
from upstream.nearest import did_you_mean

if TYPE_CHECKING:
    from downstream.data.corpus import Corpus

CORPORA: tuple[str, ...] = tuple(card.name for card in CARDS)


class CorpusRow(NamedTuple):
    """One line of the list of corpora, as text."""

    name: str
    title: str
    size: str
    licence: str
    how: str


def describe() -> list[CorpusRow]:
    """One row per corpus, for `--list`."""
    how = {card.name: card.how() for card in CARDS} | {"demo": "made on this machine", "table": "from Python alone"}
    return [CorpusRow(card.name, card.title, card.size(), card.licence, how[card.name]) for card in CARDS]


def find_card(name: str) -> CorpusCard:
    """The card of the corpus `name`; raise UserError with the nearest right name if there is none."""
    for card in CARDS:
        if card.name == name:
            return card
    if os.path.exists(name):
        from downstream.data.corpora.suggestions import instead_of_path  # loads numpy

        raise UserError(f"There is no corpus {name!r}: -c takes a name. {instead_of_path(Path(name))}")
    known = f"The corpora are {', '.join(CORPORA)}."
    raise UserError(" ".join(filter(None, (f"There is no corpus {name!r}.", did_you_mean(name, CORPORA), known))))


def load_corpus(name: str, data: Path | None, cache: Path, seed: int = 0) -> Corpus:
    """Load a corpus from its folder, else from the folder in its environment variable, else from the hub.

    name: one of `CORPORA`.
    data: folder of the corpus in its published layout.
    cache: folder for the synthesised demo corpus.
    seed: of the demo corpus; other corpora involve no randomness.

    Raises UserError for a wrong name, a folder that does not hold the corpus, and if there is no data at all.
    """
    card = find_card(name)
    if name == "table":
        raise UserError(
            "The corpus table is a DataFrame, a list of dicts or a Dataset, which is given in Python: "
            "downstream.run(recipe, upstream, corpus=TABLE). Of a file of such rows make a manifest.csv (-c manifest)."
        )
    if name == "demo":
        return load_demo(data, cache, seed)
    folder = data or folder_from_environment(card)
    if folder is not None:
        return reader(card)(folder)
    if card.hub is not None:
        from downstream.data.corpora import hub

        return hub.read(card, importlib.import_module(f"downstream.data.corpora.{name}").utterance)
    variable = f" (or set {card.variable} to it)" if card.variable is not None else ""
    raise UserError(
        f"No data was given for {card.title}: type --data DIR with the folder that holds {card.layout}{variable}. "
        f"{card.where}"
    )


def folder_from_environment(card: CorpusCard) -> Path | None:
    """The folder in the corpus's environment variable; None if it has none or it is not set."""
    value = os.environ.get(card.variable, "") if card.variable is not None else ""
    if not value:
        return None
    if not Path(value).is_dir():
        raise UserError(f"{card.variable} names {value}, which is not a folder; correct it, or give --data DIR.")
    return Path(value)


def load_demo(data: Path | None, cache: Path, seed: int) -> Corpus:
    """The demo corpus, synthesised into `cache` if it is not there yet."""
    if data is not None:
        raise UserError(
            "The demo corpus is made on this machine and reads no folder; leave --data out, "
            "or choose the corpus of that folder with -c."
        )
    demo = importlib.import_module("downstream.data.corpora.demo")
    return cast("Corpus", demo.load(cache, seed))
