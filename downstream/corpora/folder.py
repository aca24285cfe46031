"""What all readers of a corpus folder share: finding recordings, refusing a foreign folder, counting."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from downstream.audio import AudioFile, Segment
from downstream.corpora.cards import CARDS, CorpusCard
from downstream.corpora.table import Corpus, Utterance
from upstream.errors import MendableError

AUDIO_SUFFIXES = (".wav", ".flac")
GENDERS = {"f": "female", "m": "male"}  # as most tables of speakers abbreviate them
NAMES_SHOWN = 3
FILES_LOOKED_AT = 2000  # enough to recognise a corpus, few enough not to walk a whole disk

Parser = Callable[[str, Segment], Utterance | None]
"""(file name without suffix, audio) -> the utterance; None where the name is not one of the corpus's."""


def existing_folder(folder: Path) -> Path:
    """Return `folder` if it is one that can be listed; else raise MendableError."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
    elif not os.access(folder, os.R_OK | os.X_OK):
        what = "may not be read by this user"
    else:
        return folder
    raise MendableError(f"The data folder {folder} {what}; give --data the folder that holds the corpus.")


def read_recordings(files: Iterable[Path], parse: Parser) -> tuple[list[Utterance], list[Path]]:
    """One utterance of every file that is a recording of the corpus, and the files that are not."""
    utterances, others = [], []
    for file in files:
        audio = Segment(AudioFile(file))
        utterance = parse(file.stem, audio) if file.suffix.lower() in AUDIO_SUFFIXES else None
        if utterance is None:
            others.append(file)
        else:
            utterances.append(utterance)
    return utterances, others


def files_in(folder: Path) -> list[Path]:
    """The files directly in `folder`, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def assemble(
    card: CorpusCard,
    utterances: Sequence[Utterance],
    source: str,
    notes: Sequence[str] = (),
    revision: str | None = None,
    trials: Path | None = None,
) -> Corpus:
    """The corpus of a card, with notes on what of its parts is here and where its counts contradict the published."""
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
    """A sentence on how much of each published part is here, or none for a corpus without parts."""
    here = Counter(utterance.part for utterance in utterances)
    found = [
        f"{name} {'whole' if here[name] == count else f'{here[name]} of {count}'}"
        for name, count in card.parts.items()
        if here[name]
    ]
    return [f"Parts here, in utterances: {', '.join(found)}."] if found else []


def count_notes(card: CorpusCard, utterances: Sequence[Utterance]) -> list[str]:
    """A sentence where there is more of a label or a part than was published; less is a part and no fault."""
    excess = over(Counter(utterance.part for utterance in utterances), card.parts)
    for column, published in card.labels.items():
        excess += over(Counter(utterance.labels.get(column) for utterance in utterances), published)
    if not excess:
        return []
    return [f"There are more utterances here than the publication counts (in brackets): {', '.join(excess)}."]


def over(here: Mapping[str | None, int], published: Mapping[str, int]) -> list[str]:
    """What is here more often than was published, in words."""
    return [f"{here[name]} {name} ({count})" for name, count in published.items() if here[name] > count]


def missing(names: Collection[str], where: str) -> list[str]:
    """A sentence on what the list `where` names and is not here, or none."""
    if not names:
        return []
    return [f"{len(names)} of the recordings that {where} names are not here: {shown(sorted(names))}."]


def trial_names(path: Path) -> set[str]:
    """The recordings that a list of verification trials ("1 NAME NAME" a line) names.

    Lines of another form are passed over here: what reads the trials to score them judges these.
    """
    rows = (line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {name for row in rows if len(row) == 3 and row[0] in ("0", "1") for name in row[1:]}


def left_out(names: Sequence[str], why: str) -> list[str]:
    """A sentence on what was not read, or none."""
    if not names:
        return []
    return [f"{len(names)} {'file was' if len(names) == 1 else 'files were'} left out, {why}: {shown(names)}."]


def shown(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def foreign_folder(card: CorpusCard, folder: Path) -> MendableError:
    """The error for a folder that does not hold the corpus: what was looked for, what was found, what to type."""
    return MendableError(
        f"There is no {card.title} in {folder}: looked for {card.layout}; {contents(folder)}. {mend(card, folder)}"
    )


def contents(folder: Path) -> str:
    """What a folder holds, in words."""
    entries = sorted(path.name for path in folder.iterdir())
    return f"found {shown(entries)}" if entries else "the folder is empty"


def mend(card: CorpusCard, folder: Path) -> str:
    """What to type in place of a folder that does not hold the corpus of `card`."""
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
    """The corpora whose naming the recordings in `folder` follow."""
    files = [path for path in islice(walk(folder), FILES_LOOKED_AT) if path.suffix.lower() in AUDIO_SUFFIXES]
    return [card for card in CARDS if any(named_as(card, path) for path in files)]


def named_as(card: CorpusCard, path: Path) -> bool:
    """Whether a file's name, with as many folders above it as the card's pattern has, is one of the corpus's."""
    folders = card.recording.count("/")
    name = "/".join(path.with_suffix("").parts[-1 - folders :])
    return re.fullmatch(card.recording, name) is not None


def walk(folder: Path) -> Iterator[Path]:
    """Every file under `folder`, as it comes."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)
