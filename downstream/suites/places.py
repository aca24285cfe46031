"""Where the corpora of a suite lie: a folder for each, or one in which they lie by their names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from downstream.data.corpora import describe, find_card
from downstream.suites.suite import Entry, Suite
from downstream.tasks import load_recipe
from upstream.errors import UserError
from upstream.nearest import plain

DEMO = "demo"  # the corpus that is made, and lies nowhere


@dataclass(frozen=True)
class Places:
    """Folders of corpora as they were typed.

    root: in which corpora lie by their names; the corpus itself, where there is one alone. None where none was named.
    folders: by the names of corpora.
    """

    root: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)

    def of_recipe(self, recipe: str, overrides: Sequence[str], corpus: str | None) -> Path | None:
        """Return the folder of a single recipe's corpus; corpus: the one typed in place of it.

        Raises UserError where folders were typed for other corpora alone.
        """
        name = corpus or load_recipe(recipe, overrides).corpus.name
        if name not in self.folders and self.root is None:
            raise UserError(
                f"{recipe} reads {name}, and --data names {', '.join(self.folders)}; type --data {name}=DIR."
            )
        return self.folders.get(name, self.root)


def parse_places(typed: Sequence[str]) -> Places:
    """Return the places of `--data DIR` and `--data CORPUS=DIR …`; raise UserError for two folders without a name."""
    root, folders = None, {}
    known = {row.name for row in describe()}
    for one in typed:
        corpus, equals, folder = one.partition("=")
        if equals and corpus in known:
            if not folder:
                raise UserError(f"--data {one}: the folder is missing; type --data {corpus}=DIR.")
            folders[corpus] = Path(folder)
        elif equals and not Path(one).exists() and "/" not in corpus:
            find_card(corpus)  # raises, with the names that there are
        elif root is not None:
            raise UserError(f"--data takes one folder, or CORPUS=DIR for each corpus; {root} and {one} have no names.")
        else:
            root = Path(one)
    return Places(root, folders)


def folder_of(entry: Entry, corpus: str, suite: Suite, typed: Places, is_alone: bool) -> Path | None:
    """Return the folder of a recipe's corpus: what was typed for it, the suite's own, or one below the typed folder.

    is_alone: True where no recipe of the suite has another corpus, so that a folder without a name may be its own.
    None leaves it to its environment variable or the hub. Raises UserError where a folder is not there.
    """
    if corpus == DEMO:
        return None
    own = typed.folders.get(corpus) or (Path(entry.data) if entry.data else None)
    own = own or (suite.folders or {}).get(corpus)
    if own is not None:
        return existing(own, corpus)
    for root in filter(None, (typed.root, suite.root)):
        existing(root, corpus)
        if found := named_below(root, corpus):
            return found
    return typed.root if is_alone else None


def named_below(root: Path, corpus: str) -> Path | None:
    """Return the folder that has the name or the title of a corpus, in any spelling; None where none has."""
    card = find_card(corpus)
    names = {plain(card.name), plain(card.title)}
    return next((path for path in sorted(root.iterdir()) if path.is_dir() and plain(path.name) in names), None)


def existing(folder: Path, corpus: str) -> Path:
    """Return a folder; raise UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}, which was named for {corpus}; check the path.")
    return folder


def how_to_get(corpus: str, looked_in: Path | None) -> str:
    """Return what to ask for, where, and how the folder must look, of a corpus that was not found."""
    card = find_card(corpus)
    variable = f", or set {card.variable} to it" if card.variable else ""
    below = f" ({looked_in} has no folder {card.name})" if looked_in else ""
    return (
        f"There are no data of {card.title}{below}. {card.where} Then type --data {card.name}=DIR with the folder that "
        f"holds {card.layout}{variable}."
    )


def can_be_fetched(corpus: str) -> bool:
    """Return True for a corpus that needs no folder: its variable names one, the hub has it, or it is made."""
    card = find_card(corpus)
    return corpus == DEMO or card.hub is not None or bool(card.variable and os.environ.get(card.variable))
