"""Functions shared by the readers: parse names, refuse folders of other corpora, write notes on counts."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.cards import CARDS, CorpusCard
from downstream.data.corpora.files import Entry, left_out, names_of, shown, sort_out, walk
from downstream.data.corpus import Corpus, Utterance
from downstream.data.text_files import read_lines
from upstream.errors import UserError

FILES_LOOKED_AT = 2000  # enough to recognise a corpus, few enough not to walk a whole disk

Parser = Callable[[str, AudioCut], Utterance | None]
"""(file name without suffix, audio) -> the utterance; None for names that are not the corpus's."""


def existing_folder(folder: Path) -> Path:
    """Return `folder` if it can be listed; otherwise raise UserError."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
    elif not os.access(folder, os.R_OK | os.X_OK):
        what = "may not be read by this user"
    else:
        return folder
    raise UserError(f"The data folder {folder} {what}; give --data the folder that holds the corpus.")


def read_recordings(entries: Iterable[Entry], parse: Parser, naming: str) -> tuple[list[Utterance], list[str]]:
    """The utterances of the entries that are recordings of the corpus, and sentences on the others.

    naming: how its recordings are named, such as "in EmoDB (03a01Fa)".
    """
    found = sort_out(entries)
    parsed = [(path, parse(path.stem, AudioCut(AudioFile(path)))) for path in found.recordings]
    others = sorted([*found.others, *(path for path, utterance in parsed if utterance is None)])
    notes = [*left_out(names_of(others), f"not named as {naming}"), *found.notes]
    return [utterance for _, utterance in parsed if utterance is not None], notes


def assemble(
    card: CorpusCard,
    utterances: Sequence[Utterance],
    source: str,
    notes: Sequence[str] = (),
    revision: str | None = None,
    trials: Path | None = None,
) -> Corpus:
    """The corpus of a card, with notes on its parts and on counts above the published ones."""
    return Corpus(
        name=card.name,
        title=card.title,
        licence=card.licence,
        utterances=tuple(utterances),
        source=source,
        published=card.published(),
        revision=revision,
        notes=(*notes, *part_notes(card, utterances), *count_notes(card, utterances)),
        trials=trials,
    )


def part_notes(card: CorpusCard, utterances: Sequence[Utterance]) -> list[str]:
    """A sentence on how much of each published part is here, if the corpus has parts."""
    here = Counter(utterance.part for utterance in utterances)
    found = [
        f"{name} {'whole' if here[name] == count else f'{here[name]} of {count}'}"
        for name, count in card.parts.items()
        if here[name]
    ]
    return [f"Parts here, in utterances: {', '.join(found)}."] if found else []


def count_notes(card: CorpusCard, utterances: Sequence[Utterance]) -> list[str]:
    """A sentence if there are more utterances of a label or part than published; fewer are a part of the corpus."""
    excess = above_published(Counter(utterance.part for utterance in utterances), card.parts)
    for column, published in card.labels.items():
        excess += above_published(Counter(utterance.labels.get(column) for utterance in utterances), published)
    if not excess:
        return []
    return [f"There are more utterances here than the publication counts (in brackets): {', '.join(excess)}."]


def above_published(here: Mapping[str | None, int], published: Mapping[str, int]) -> list[str]:
    """Names that are here more often than published, with both counts."""
    return [f"{here[name]} {name} ({count})" for name, count in published.items() if here[name] > count]


def missing(names: Collection[str], where: str) -> list[str]:
    """A sentence on recordings that the list `where` names and that are not here, if any."""
    if not names:
        return []
    return [f"{len(names)} of the recordings that {where} names are not here: {shown(sorted(names))}."]


def trial_names(path: Path) -> set[str]:
    """The recordings named in a list of verification trials ("1 NAME NAME" a line).

    Malformed lines are skipped here; what reads the list for scoring reports them.
    """
    rows = (line.split() for line in read_lines(path))
    return {name for row in rows if len(row) == 3 and row[0] in ("0", "1") for name in row[1:]}


def foreign_folder(card: CorpusCard, folder: Path) -> UserError:
    """The error for a folder that does not hold the corpus: what was looked for, what was found, what to type."""
    return UserError(
        f"There is no {card.title} in {folder}: looked for {card.layout}; {contents(folder)}. "
        f"{suggestion(card, folder)}"
    )


def contents(folder: Path) -> str:
    """The first entries of a folder, in words."""
    entries = sorted(path.name for path in folder.iterdir())
    return f"found {shown(entries)}" if entries else "the folder is empty"


def suggestion(card: CorpusCard, folder: Path) -> str:
    """What to type instead, for a folder that does not hold the corpus of `card`."""
    hints = []
    if (folder / "manifest.csv").is_file():
        hints.append("It has a manifest.csv: add -c manifest to read that.")
    others = recognised(folder)
    if card in others:
        hints.append(f"Files named as in {card.title} are there, but none of that kind at that place.")
    elif others:
        titles, names = " or ".join(other.title for other in others), " or ".join(other.name for other in others)
        hints.append(f"This looks like {titles}: add -c {names}.")
    return " ".join(hints) or f"Give --data the folder that holds {card.layout}. {card.where}"


def recognised(folder: Path) -> list[CorpusCard]:
    """The corpora whose file names match recordings in `folder`."""
    files = sort_out(islice(walk(folder), FILES_LOOKED_AT)).recordings
    return [card for card in CARDS if any(named_as(card, path) for path in files)]


def named_as(card: CorpusCard, path: Path) -> bool:
    """True if a file's name, with as many folders above it as the card's pattern has, matches that pattern."""
    folders = card.recording.count("/")
    name = "/".join(path.with_suffix("").parts[-1 - folders :])
    return re.fullmatch(card.recording, name) is not None
