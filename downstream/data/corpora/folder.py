"""Functions shared by the readers: the folder, its recordings, and notes on counts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpora.cards import CorpusCard
from downstream.data.corpora.files import Entry, left_out, names_of, shown, sort_out
from downstream.data.corpus import Corpus, Utterance
from downstream.data.text_files import read_lines
from upstream.errors import UserError

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
    are = "is" if len(names) == 1 else "are"
    return [f"{len(names)} of the recordings that {where} names {are} not here: {shown(sorted(names))}."]


def trial_names(path: Path) -> set[str]:
    """The recordings named in a list of verification trials ("1 NAME NAME" a line).

    Malformed lines are skipped here; what reads the list for scoring reports them.
    """
    rows = (line.split() for line in read_lines(path))
    return {name for row in rows if len(row) == 3 and row[0] in ("0", "1") for name in row[1:]}
