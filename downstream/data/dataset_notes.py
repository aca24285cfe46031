"""Labels and names in a dataset that may not mean what they seem to, in sentences that stand beside its score."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from downstream.data.corpora.files import shown
from downstream.data.corpus import Utterance
from upstream.text import counted

# What programs write where there is nothing, in small letters; some are words as well, so that none is refused.
MISSING = frozenset(("nan", "<na>", "na", "n/a", "#n/a", "#na", "nat", "none", "null", "nil", "undefined", "-", "?"))

# As programs write the numbers of a column with empty cells, and as spreadsheets write what begins with zeros.
WHOLE_NUMBER = re.compile(r"^0*([0-9]+?)(\.0+)?$")


def dataset_notes(column: str, utterances: Sequence[Utterance], labels: Sequence[str]) -> list[str]:
    """Return sentences on cells that read like missing ones, and on names that are hard to tell apart.

    column, labels: what is learned, as in `Choice`; labels are empty where nothing is classified.
    """
    spoken = [utterance for utterance in utterances if utterance.speech]
    values = {
        f"label in the column {column}": list(labels),
        "speaker": [utterance.speaker for utterance in spoken],
        "transcript": [utterance.text or "" for utterance in spoken] if column == "text" else [],
    }
    return [
        *(note for what, found in values.items() for note in missing_notes(what, found)),
        *spelling_notes("classes", labels),
        *spelling_notes("speakers", (utterance.speaker for utterance in spoken)),
    ]


def missing_notes(what: str, values: Iterable[str]) -> list[str]:
    """Return a sentence for every value that reads as if there were none."""
    found = Counter(value for value in values if value.lower() in MISSING)
    return [
        f"{counted(count, 'utterance has', 'utterances have')} the {what} {value!r}, which reads as if there were none "
        "and is taken for one; leave the cell empty if there is none."
        for value, count in sorted(found.items())
    ]


def spelling_notes(what: str, names: Iterable[str]) -> list[str]:
    """Return a sentence on names that differ in capitals, in blanks or in what cannot be seen, if there are any."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for name in set(names):
        spellings[plain(name)].add(name)
    alike = [" and ".join(map(repr, sorted(found))) for found in spellings.values() if len(found) > 1]
    if not alike:
        return []
    return [
        f"These {what} differ in nothing but capitals, blanks, invisible characters or how a number is written, and "
        f"are taken for different ones: {shown(sorted(alike))}."
    ]


def plain(name: str) -> str:
    """Return a name without capitals, blanks, characters of no width, and what a table adds to whole numbers (1.0)."""
    letters = unicodedata.normalize("NFKC", name).casefold()
    seen = re.sub(r"\s", "", "".join(letter for letter in letters if unicodedata.category(letter) != "Cf"))
    return WHOLE_NUMBER.sub(r"\1", seen)
