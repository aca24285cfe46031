"""Transcripts as a recogniser's tokens, and back."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from upstream.errors import UserError

# SUPERB's characters, in the order of s3prl's list: by frequency in LibriSpeech's training transcripts.
SUPERB_CHARACTERS = "ETAONIHSRDLUMCWFGYPBVK'XJQZ"

# Characters used in place of the plain apostrophe.
APOSTROPHES = str.maketrans("\u2018\u2019\u201b\u02bc\uff07\u00b4`", "'" * 7)

# Forms of printing types, which are several letters: ŉ, then the ligatures of Latin (ﬁ) and Armenian.
LIGATURES = {code: unicodedata.normalize("NFKD", chr(code)) for code in (0x0149, *range(0xFB00, 0xFB18))}


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a character recogniser; a token's index is its class.

    Tokens of one character are text; longer ones ("<pad>") are special, like the blank, the end and the unknown
    token, and never appear in a decoded text.

    blank: class of CTC's blank.
    end: class of the token that ends an utterance; None where there is none.
    unknown: class of every character that is not among the tokens; None where such a character is an error.
    separator: the token between words; must be one of the tokens.
    closing: every target ends in one more separator and the end token, as in SUPERB (s3prl 0.4.18, downstream/asr).
    """

    tokens: tuple[str, ...]
    blank: int = 0
    end: int | None = None
    unknown: int | None = None
    separator: str = "|"
    closing: bool = False

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def _spoken(self) -> dict[str, int]:
        """The class of every token that appears in texts, including the separator."""
        special = {self.blank, self.end, self.unknown}
        return {token: index for index, token in enumerate(self.tokens) if len(token) == 1 and index not in special}

    def encode(self, text: str, closed: bool = True) -> Tensor:
        """Return the target of a text, (N,) int64; whitespace between words becomes one separator.

        closed: False for the text alone, without what ends the targets of a `closing` vocabulary.

        Raises UserError for a character that is not among the tokens where there is no unknown token.
        """
        written = self.separator.join(text.split())
        classes = [self._class_of(character, text) for character in written]
        if self.closing and closed:
            classes.append(self._spoken[self.separator])
            classes += [] if self.end is None else [self.end]
        return torch.tensor(classes, dtype=torch.int64)

    def _class_of(self, character: str, text: str) -> int:
        known = self._spoken.get(character, self.unknown)
        if known is None:
            raise UserError(
                f"{character!r} in {text!r} is not among the {len(self)} tokens of this vocabulary, "
                "which has no token for unknown characters. Normalise the text or use a vocabulary that has it."
            )
        return known

    def decode(self, classes: Sequence[int]) -> str:
        """Return the text of a labelling: special tokens dropped, separators as single spaces.

        CTC's repetitions must have been collapsed before: here two Ls stay two Ls.
        """
        spoken = (self.tokens[index] for index in classes if self.tokens[index] in self._spoken)
        return " ".join("".join(spoken).replace(self.separator, " ").split())

    def spells(self, word: str) -> bool:
        """Return true if every character of a word is a token."""
        return all(character in self._spoken and character != self.separator for character in word)


def superb_vocabulary() -> Vocabulary:
    """SUPERB's 32 tokens (s3prl 0.4.18, downstream/asr: fairseq's four special ones, then char.dict)."""
    tokens = ("<s>", "<pad>", "</s>", "<unk>", "|", *SUPERB_CHARACTERS)
    return Vocabulary(tokens, blank=0, end=2, unknown=3, separator="|", closing=True)


def characters_of(texts: Iterable[str]) -> Vocabulary:
    """Return a vocabulary of blank, unknown, separator and the sorted characters of (normalised training) texts."""
    characters = set("".join("".join(text.split()) for text in texts)) - {"|"}
    return Vocabulary(("<blank>", "<unk>", "|", *sorted(characters)), blank=0, unknown=1, separator="|")


def normalise(text: str, upper: bool = True) -> str:
    """Return a transcript in its form for scoring: words of letters, marks, digits and apostrophes.

    Works for any script. Unicode's composed form (NFC), capitals by `capital` unless `upper` is False, ligatures as
    letters and typographic apostrophes as plain ones; invisible characters (soft hyphens, joiners, direction marks) are
    dropped, all other characters become spaces, and spaces are collapsed. LibriSpeech's transcripts are unchanged.
    """
    letters = unicodedata.normalize("NFD", text.translate(LIGATURES))  # with accents apart, every letter has a capital
    composed = unicodedata.normalize("NFC", letters.translate(CAPITALS) if upper else letters)
    return " ".join(composed.translate(APOSTROPHES).translate(KEPT).split())


class EachCharacter(dict[int, str]):
    """A table for `str.translate` whose entries are computed when they are first needed."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        super().__init__()
        self._replace = replace

    def __missing__(self, code: int) -> str:
        self[code] = self._replace(chr(code))
        return self[code]


def capital(character: str) -> str:
    """Return the capital of a letter, where it is one letter and no other letter's; else the small letter.

    Words that differ in more than case stay different: Turkish ı and i both have the capital I in Unicode, ß has SS and
    Armenian և has ԵՒ, so that ı, ß and և stay small. Two letters become one exactly where Unicode's simple case folding
    (CaseFolding.txt, status C and S) makes them one: σ and ς, forms of one letter, do.
    """
    if unicodedata.category(character)[0] == "M":
        return character  # the iota below a Greek vowel, whose capital would be a letter
    lower = character.lower()
    small = lower if len(lower) == 1 else character
    upper = small.upper()
    return upper if len(upper) == 1 and upper.casefold() == small.casefold() else small


def kept(character: str) -> str:
    """Return the replacement of a character by its Unicode category: itself, nothing or a space."""
    category = unicodedata.category(character)
    if category[0] in "LMN" or character == "'":  # letter, mark, number
        return character
    return "" if category == "Cf" else " "


CAPITALS, KEPT = EachCharacter(capital), EachCharacter(kept)
