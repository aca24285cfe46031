"""Arguments of commands, in any order; and types of numbers and folders for argparse's `type`.

Each type raises ArgumentTypeError with what it expects.
"""

from __future__ import annotations

from argparse import PARSER, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Number = TypeVar("Number", int, float)

LARGEST = 10**12  # of a count, of seconds, of hours: beyond it is no use but an overflow


class AnyOrder(ArgumentParser):
    """A parser that takes options before, between and behind positional arguments: `predict RUN -u wavlm_base a.wav`.

    argparse by itself gives all optional positional arguments to the first run of them.
    """

    _options_alone = False  # True while argparse reads the options, and then the rest, through this very method

    def parse_known_args(  # type: ignore[override]  # argparse types it by overloads
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, but let options stand anywhere; a parser of subcommands has its own rules."""
        if self._options_alone or any(action.nargs == PARSER for action in self._actions):
            return super().parse_known_args(args, namespace)
        self._options_alone = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._options_alone = False


def not_negative(text: str) -> float:
    """Parse a number from zero to `LARGEST`."""
    number = parsed(text, float, "a number, zero or more")
    if not 0 <= number <= LARGEST:
        refuse(text, f"a number from 0 to {LARGEST:,}")
    return number


def positive(text: str) -> float:
    """Parse a number above zero, at most `LARGEST`."""
    number = not_negative(text)
    if number == 0:
        refuse(text, "a number above zero")
    return number


def count(text: str) -> int:
    """Parse a whole number from one to `LARGEST`."""
    number = parsed(text, int, "a whole number above zero")
    if not 1 <= number <= LARGEST:
        refuse(text, f"a whole number from 1 to {LARGEST:,}")
    return number


def whole_number(text: str) -> int:
    """Parse a seed, 0 to 2^63 - 1: the range that every random generator here accepts."""
    number = parsed(text, int, "a whole number")
    if not 0 <= number < 2**63:
        refuse(text, "a whole number from 0 to 2^63 - 1")
    return number


def layer(text: str) -> int:
    """Parse the number of a layer; negative ones count from the last."""
    if text == "all":
        raise ArgumentTypeError("one layer has a number; every layer beside the weighted sum is -o sweep.layer=all")
    number = parsed(text, int, "the number of a layer")
    if abs(number) >= 10_000:
        refuse(text, "the number of a layer")
    return number


def folder(text: str) -> Path:
    """Parse the path of a folder; an empty one, of a variable that is not set, would be the working directory."""
    if not text:
        refuse(text, "the path of a folder; type . for the current one")
    return Path(text)


def filled(text: str) -> str:
    """Parse the path of a folder that may carry a name; an empty one, of a variable that is not set, is refused."""
    folder(text)
    return text


def parsed(text: str, kind: type[Number], expected: str) -> Number:
    """Return the text as a number."""
    try:
        return kind(text)
    except ValueError:
        refuse(text, expected)


def refuse(text: str, expected: str) -> NoReturn:
    """Raise ArgumentTypeError."""
    raise ArgumentTypeError(f"{text[:60]!r} is not {expected}")
