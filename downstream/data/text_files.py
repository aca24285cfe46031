"""Text files that people write and corpora ship: lists, transcripts, lexica, tables. Every one is read here."""

from __future__ import annotations

import re
from pathlib import Path

from upstream.errors import UserError
from upstream.files import read_regular_file
from upstream.text import composed

LARGEST = 2**30  # bytes; the longest lists of trials have a tenth of it
WIDE_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
LINE_END = re.compile("\r\n?")
BYTES_LINE_END = re.compile(b"\r\n?|\n")
MARKS = re.compile("^\ufeff+", re.MULTILINE)  # byte order marks; files that were joined have some inside


def read_text(path: Path, tolerant: bool = False) -> str:
    r"""Return the content of a file in UTF-8, with or without a byte order mark.

    Lines end with "\n", whatever they end with in the file, and letters are composed (NFC), so that names from
    different files and systems are equal.
    tolerant: bytes that are not UTF-8 become \xNN; for tables of which only ASCII fields are used.

    Raises UserError, with the line's number, for a file that cannot be read or is not text in UTF-8.
    """
    content = read_regular_file(path, LARGEST)
    refuse_wide(content, path)
    try:
        text = content.decode(errors="backslashreplace" if tolerant else "strict")
    except UnicodeDecodeError as error:
        line = len(BYTES_LINE_END.findall(content[: error.start])) + 1
        raise UserError(
            f"{path}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8; the file may be in Latin-1 or "
            "another encoding. Save it as text in UTF-8."
        ) from error
    return composed(MARKS.sub("", LINE_END.sub("\n", text)))


def read_lines(path: Path, tolerant: bool = False) -> list[str]:
    """Return the lines of a text file without their ends, read as by `read_text`; the first is line 1 in an editor."""
    lines = read_text(path, tolerant).split("\n")
    return lines if lines[-1] else lines[:-1]


def refuse_wide(content: bytes, path: Path) -> None:
    """Raise UserError for text of two or four bytes a character, and for what is no text."""
    wide = next((name for mark, name in WIDE_MARKS.items() if content.startswith(mark)), None)
    if wide is None and b"\0" in content:
        before = content[: content.index(b"\0")]
        line = len(BYTES_LINE_END.findall(before)) + 1
        raise UserError(
            f"{path}, line {line}: a NUL byte, which no text in UTF-8 has; the file may be in UTF-16, or damaged. "
            "Save it as text in UTF-8, or copy it again."
        )
    if wide is not None:
        raise UserError(f"{path} is text in {wide} from its first line on; save it as text in UTF-8.")
