"""The one reader of JSON that others wrote: whatever is wrong with a file, the error is a UserError that names it."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from upstream.errors import UserError
from upstream.files import read_regular_file

# Far beyond every honest file, and small enough that code which walks or writes the content cannot fail.
DEEPEST = 100  # lists and objects within each other
LARGEST = 1 << 30  # bytes
LONGEST_INTEGER = 20  # digits: 64 bits

FIX = "Correct the file, or get it again from where it came."


def read_json(path: Path, fix: str = FIX, longest_integer: int = LONGEST_INTEGER) -> Any:
    """Return the content of a JSON file.

    fix: what to do about a bad file, the last sentence of the message. longest_integer: digits that an integer may
        have.

    Raises UserError if there is no such file, if it is a folder, a pipe or unreadable, and for content that
    `parse_json` refuses.
    """
    return parse_json(read_regular_file(path, LARGEST), str(path), fix, longest_integer)


def read_json_object(path: Path, fix: str = FIX, longest_integer: int = LONGEST_INTEGER) -> dict[str, Any]:
    """Return the object in a JSON file; as `read_json`, with a UserError for another kind of value."""
    content = read_json(path, fix, longest_integer)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not an object in braces. {fix}")
    return content


def parse_json(content: bytes | str, where: str, fix: str = FIX, longest_integer: int = LONGEST_INTEGER) -> Any:
    """Return the value that JSON text describes.

    where: the text's name in the message.

    Raises UserError for text that is not JSON or not UTF-8, and for what the standard forbids or leaves open and
    later code would stumble over: NaN and infinities, a key with two values, half of a surrogate pair, integers
    beyond 64 bits unless they are expected, and nesting beyond `DEEPEST`.
    """
    try:
        value = json.loads(
            content,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=partial(_integer, longest=longest_integer),
        )
        _check_depth_and_text(value)
    except RecursionError as error:
        raise UserError(f"{where} is not valid JSON (nested too deeply). {fix}") from error
    except ValueError as error:  # of the parser, of decoding, and of the functions below
        raise UserError(f"{where} is not valid JSON ({error}). {fix}") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        for key, value in pairs:
            if values[key] != value:
                raise ValueError(f"the key {key!r} has two values")
    return values


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large for a number")
    return number


def _integer(text: str, longest: int) -> int:
    if len(text.lstrip("-")) > longest:
        raise ValueError(f"an integer of {len(text)} digits, {text[:10]}…")
    return int(text)


def _check_depth_and_text(value: Any) -> None:
    """Raise ValueError for nesting beyond `DEEPEST` or text that UTF-8 cannot write."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for entry in level:
            if isinstance(entry, str):
                _encodable(entry)
            elif isinstance(entry, dict):
                inner += [*entry.keys(), *entry.values()]
            elif isinstance(entry, list):
                inner += entry
        if not inner:
            return
        level = inner
    raise ValueError(f"more than {DEEPEST} lists and objects within each other")


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair in {text[:20]!r}") from error
