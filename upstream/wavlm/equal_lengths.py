"""Utterances of equal length that follow each other in a batch: where they learn, they are computed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby


def equal_runs(lengths: Sequence[int], frames: int | None = None) -> Iterator[range]:
    """Yield the numbers of utterances that follow each other and have equally many frames.

    frames: a run of several has no more than these altogether; None for no limit.
    """
    first = 0
    for length, equal in groupby(lengths):
        last = first + len(list(equal))
        size = last - first if frames is None else max(1, frames // max(1, length))
        for begin in range(first, last, size):
            yield range(begin, min(begin + size, last))
        first = last
