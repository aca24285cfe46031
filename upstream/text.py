"""Text that may be printed, compared and written anywhere: names of files are bytes, and letters have several forms."""

from __future__ import annotations

import re
import unicodedata

LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # of no character, and of no byte of a name either


def printable(name: str) -> str:
    r"""Return a name or message that can be encoded as UTF-8: bytes that are no UTF-8 become \xNN, the rest stays.

    Python keeps such bytes of a file's name, and of an argument, as lone surrogates (PEP 383), which neither a terminal
    nor a file of UTF-8 takes. Opening a file takes the name as it was; everything that people read takes this one.
    """
    if name.isascii():
        return name
    known = LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", name)
    return known.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def one_line(name: str) -> str:
    """Return a name as `printable`, and in one line: its control characters are escaped as well."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in printable(name))


def shortened(message: str, most: int = 4000) -> str:
    """Return a message without its middle if it has more than `most` characters: a damaged file may be quoted in it."""
    if len(message) <= most:
        return message
    return f"{message[: most // 2]} … {message[-most // 4 :]}"


def composed(text: str) -> str:
    """Return the text as `printable` and in Unicode's composed form (NFC), in which equal letters are equal.

    "é" may be one code point or two (an e and an accent); keyboards write the one, file names of macOS the other.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", printable(text))


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun, and verb: counted(2, "file") is "2 files", counted(1, "is", "are") "1 is".

    several: the words for other numbers than 1; None for an s behind `one`.
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"
