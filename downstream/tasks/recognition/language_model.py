"""Language models as they lie on disk: what is checked before KenLM reads one, which may crash on what is none."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from upstream.errors import UserError

BINARY = b"mmap lm"  # how KenLM's binary format begins
GZIP = b"\x1f\x8b"
MARK = b"\xef\xbb\xbf"  # a byte order mark
COUNT = re.compile(r"ngram +(\d{1,2}) *= *(\d{1,13})")
LONGEST_LINE = 1 << 16  # bytes; a longer one is not of an n-gram


def check_language_model(path: Path, words: Iterable[str]) -> None:
    """Raise UserError for a language model that KenLM cannot read, or that knows none of the words.

    Only header and unigrams of an ARPA file are looked at, plain or compressed by gzip; KenLM checks the rest, and all
    of a binary file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(BINARY))
        if start == BINARY:
            return
        with gzip.open(path) if start.startswith(GZIP) else path.open("rb") as file:
            known = unigrams(numbered_lines(file, path), path)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The language model {path} cannot be read: {error}. Copy it again.") from error
    sought = set(words)
    if sought and not sought & known:
        shown, listed = min(sought), ", ".join(sorted(known - {"<s>", "</s>", "<unk>"})[:3])
        raise UserError(
            f"The language model {path} knows none of the {len(sought)} words that can be said, such as {shown}; its "
            f"own are written as {listed or 'nothing'}. Choose one of the same case and script."
        )


def numbered_lines(file: BinaryIO | gzip.GzipFile, path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is not blank; raise UserError for what is no text in UTF-8."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise UserError(
                f"Line {number} of the language model {path} is not text in UTF-8 ({error.reason}), and it is no "
                "binary file of KenLM's either. Convert it, or choose another file."
            ) from error
        if number == 1 and line.startswith(MARK):
            raise UserError(f"The language model {path} begins with a byte order mark; save it without one.")
        if text:
            yield number, text


def unigrams(lines: Iterator[tuple[int, str]], path: Path) -> set[str]:
    r"""Return the words of an ARPA file, from the lines between \1-grams: and the next section.

    Raises UserError for a line that is not what ARPA has there.
    """
    number, text = next(lines, (1, ""))
    if text != "\\data\\":
        raise wrong(path, number, text, "\\data\\ as the first line of an ARPA file")
    for order, (number, text) in enumerate(lines, 1):
        if text == "\\1-grams:":
            break
        found = COUNT.fullmatch(text)
        if found is None or int(found[1]) != order or int(found[2]) == 0:
            raise wrong(path, number, text, f"'ngram {order}=' and the number of these n-grams")
    words = set()
    for _, text in lines:
        if text.startswith("\\"):
            break
        words |= set(text.split()[1:2])
    return words


def wrong(path: Path, number: int, text: str, expected: str) -> UserError:
    """Return the error for a line that is not what an ARPA file has there."""
    return UserError(
        f"The language model {path} cannot be read: its line {number} is {text[:80]!r}; expected {expected}. Choose a "
        "file in ARPA or KenLM's binary format."
    )
