"""Number types for argparse's `type`; each raises ValueError for text it does not accept."""

from __future__ import annotations

import math


def not_negative(text: str) -> float:
    """Parse a finite number, zero or more."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def positive(text: str) -> float:
    """Parse a finite number above zero."""
    number = not_negative(text)
    if number == 0:
        raise ValueError(text)
    return number


def count(text: str) -> int:
    """Parse a whole number above zero."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def whole_number(text: str) -> int:
    """Parse a seed, 0 to 2^63 - 1: the range that every random generator here accepts."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError(text)
    return number
