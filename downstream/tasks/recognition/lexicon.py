"""Lexica of a beam search: the words that may be said, each with its spelling in tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from downstream.data import read_lines
from downstream.tasks.recognition.language_model import GZIP
from downstream.tasks.recognition.text import Vocabulary, normalise
from upstream.errors import UserError

Lexicon = list[tuple[str, list[str]]]  # words and spellings; a word may have several

LONGEST_SPELLING = 1000  # tokens; flashlight's decoder recurses over them, and crashes with a hundred thousand


def lexicon_of(words: Iterable[str], vocabulary: Vocabulary) -> Lexicon:
    """Return every word that the vocabulary can spell, once, and its characters with a separator as the spelling.

    Raises UserError where it can spell none.
    """
    spellable = sorted({w for w in words if w and vocabulary.spells(w) and len(w) < LONGEST_SPELLING})
    if not spellable:
        raise UserError(
            f"None of the words for the beam search can be spelled in the {len(vocabulary)} tokens of this vocabulary. "
            "Check their case and script."
        )
    return [(word, [*word, vocabulary.separator]) for word in spellable]


def read_lexicon(path: Path, vocabulary: Vocabulary) -> Lexicon:
    """Return the words of a file, a line each: the word and its spelling, separated by spaces ("THE T H E |").

    Raises UserError for a file that is no text, and for a line that is no word with a spelling in the vocabulary's
    tokens.
    """
    refuse_compressed(path)
    known = set(vocabulary.tokens)
    lexicon: Lexicon = []
    for number, line in enumerate(read_lines(path), start=1):
        word, *spelling = line.split() or [""]
        if not word:
            continue
        strange = [token for token in spelling if token not in known]
        if not spelling or strange:
            found = f"{', '.join(strange[:5])} in the spelling of {word!r}" if strange else f"{line.strip()!r}"
            raise UserError(
                f"Line {number} of the lexicon {path} does not fit the vocabulary: found {found}; expected a word "
                f"and its spelling in tokens like {' '.join(sorted(known)[:8])}, separated by spaces."
            )
        if len(spelling) > LONGEST_SPELLING:
            raise UserError(
                f"Line {number} of the lexicon {path} spells {word[:40]!r} in {len(spelling)} tokens; the most is "
                f"{LONGEST_SPELLING}. Fix or remove the line."
            )
        lexicon.append((word, spelling))
    if not lexicon:
        raise UserError(f"The lexicon {path} is empty; expected a line per word, the word and its spelling.")
    return lexicon


def refuse_compressed(path: Path) -> None:
    """Raise UserError for a file that gzip wrote."""
    with path.open("rb") as file:
        if file.read(len(GZIP)) == GZIP:
            raise UserError(
                f"The lexicon {path} is compressed by gzip; unpack it with gunzip, and name what comes out."
            )


def refuse_other_forms(path: Path, words: Sequence[str]) -> None:
    """Raise UserError where none of a lexicon's words is written as transcripts are when they are scored."""
    if not any(normalise(word) == word for word in words):
        raise UserError(
            f"The words of the lexicon {path} are not written as transcripts are scored: the first is {words[0]!r} and "
            f"would have to be {normalise(words[0])!r}. Write them so; none could be right otherwise."
        )
