"""The tokens of a CTC model, and text from them, as transformers' Wav2Vec2CTCTokenizer has both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from upstream.errors import UserError
from upstream.json_file import read_json_object
from upstream.weight_files import is_there

VOCABULARY, SETTINGS, ADDED, SPECIAL = (
    "vocab.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
NO_LIMIT = 31  # digits of model_max_length in tokenizer_config.json where a model has none: int(1e30)


@dataclass(frozen=True)
class CTCVocabulary:
    """Tokens by their numbers, and how they are joined to text.

    blank: the token between others. unknown: stands for numbers without a token. delimiter: the token between words;
    replacement: what it becomes. lower_case: True for text in small letters. tidy: True to take spaces before
    punctuation away.
    """

    tokens: Mapping[int, str]
    blank: str = "<pad>"
    unknown: str = "<unk>"
    delimiter: str = "|"
    replacement: str = " "
    lower_case: bool = False
    tidy: bool = False

    def text(self, numbers: Sequence[int]) -> str:
        """Return the text of the best token of each frame: repeated tokens are one, and blanks are left out."""
        tokens = [token for token, _ in groupby(self.tokens.get(number, self.unknown) for number in numbers)]
        spoken = [self.replacement if token == self.delimiter else token for token in tokens if token != self.blank]
        text = "".join(spoken).strip()
        text = text.lower() if self.lower_case else text
        return tidied(text) if self.tidy else text

    def words(self, numbers: Sequence[int]) -> list[tuple[str, int, int]]:
        """Return each word of the text with its first frame and the frame behind its last one.

        A word lasts from its first token to its last one; the blanks of CTC around it belong to no word.
        """
        words: list[tuple[str, int, int]] = []
        within, frame = False, 0
        for token, run in groupby(self.tokens.get(number, self.unknown) for number in numbers):
            first, frame = frame, frame + len(list(run))
            if token == self.delimiter or token.isspace():
                within = False
            elif token != self.blank:
                shown = token.lower() if self.lower_case else token
                if within:
                    beginning, start, _ = words.pop()
                    shown, first = beginning + shown, start
                words.append((shown, first, frame))
                within = True
        return words

    def write(self, folder: Path) -> None:
        """Write the files that transformers reads a tokenizer from."""
        settings = {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "pad_token": self.blank,
            "unk_token": self.unknown,
            "word_delimiter_token": self.delimiter,
            "replace_word_delimiter_char": self.replacement,
            "do_lower_case": self.lower_case,
            "clean_up_tokenization_spaces": self.tidy,
            "bos_token": None,
            "eos_token": None,
        }
        numbers = {token: number for number, token in sorted(self.tokens.items())}
        for name, content in ((VOCABULARY, numbers), (SETTINGS, settings)):
            (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_vocabulary(folder: Path) -> CTCVocabulary | None:
    """Return the vocabulary that lies in a folder; None where there is no vocab.json.

    Raises UserError for files that are damaged, and for the vocabularies of several languages.
    """
    if not is_there(folder / VOCABULARY):
        return None
    settings, special, added = (_if_there(folder / name) for name in (SETTINGS, SPECIAL, ADDED))
    content = read_json_object(folder / VOCABULARY)
    if content and all(isinstance(own, dict) for own in content.values()):
        language = settings.get("target_lang")
        if language not in content:
            raise UserError(
                f"{folder / VOCABULARY} has vocabularies of several languages ({', '.join(list(content)[:5])}), and "
                f"{SETTINGS} does not say which is meant. Set its target_lang."
            )
        content = content[language]
    named: dict[str, Any] = content | added | _decoder(settings)
    if wrong := [token for token, number in named.items() if not isinstance(number, int) or isinstance(number, bool)]:
        raise UserError(f"{folder / VOCABULARY} has no number for the token {wrong[0]!r}. Get the file again.")

    def token(name: str, default: str) -> str:
        value = settings.get(name) or special.get(name) or default
        return str(value["content"] if isinstance(value, dict) and "content" in value else value)

    return CTCVocabulary(
        {number: one for one, number in named.items()},
        token("pad_token", "<pad>"),
        token("unk_token", "<unk>"),
        token("word_delimiter_token", "|"),
        str(settings.get("replace_word_delimiter_char", " ")),
        bool(settings.get("do_lower_case", False)),
        bool(settings.get("clean_up_tokenization_spaces", False)),
    )


def _if_there(path: Path) -> dict[str, Any]:
    return read_json_object(path, longest_integer=NO_LIMIT) if is_there(path) else {}


def _decoder(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens that were added to a vocabulary, as newer files have them: number -> description."""
    entries = settings.get("added_tokens_decoder") or {}
    try:
        return {str(entry["content"]): int(number) for number, entry in entries.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{SETTINGS} has an added_tokens_decoder that is not read here. Get the file again.") from error


def tidied(text: str) -> str:
    """Return the text without the spaces that tokenizers put before punctuation and English contractions."""
    for mark in (".", "?", "!", ","):
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    for ending in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {ending}", ending)
    return text
