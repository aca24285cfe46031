"""Kinds of numbers on a command line, for argparse's `type`; each raises ValueError for what it does not take."""

from __future__ import annotations

import math


def not_negative(text: str) -> float:
    """A finite number, zero or more."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def positive(text: str) -> float:
    """A finite number above zero."""
    number = not_negative(text)
    if number == 0:
        raise ValueError(text)
    return number


def count(text: str) -> int:
    """A whole number above zero."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def whole_number(text: str) -> int:
    """A seed: what every generator takes, 0 to 2^63 - 1."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError(text)
    return number
