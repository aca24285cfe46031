"""Utterances of equal length that follow each other, worked out by hand."""

from __future__ import annotations

import pytest

from upstream.wavlm.equal_lengths import equal_runs


@pytest.mark.parametrize(
    ("lengths", "frames", "expected"),
    [
        ([], None, []),
        ([5, 5, 5, 2, 5], None, [(0, 3), (3, 4), (4, 5)]),
        ([5, 5, 5, 2, 5], 10, [(0, 2), (2, 3), (3, 4), (4, 5)]),  # no more than ten frames together
        ([5, 5], 9, [(0, 1), (1, 2)]),
        ([5, 5], 0, [(0, 1), (1, 2)]),  # each alone
        ([20, 20, 1], 10, [(0, 1), (1, 2), (2, 3)]),  # longer than that: alone
    ],
)
def test_runs_of_equal_lengths(lengths: list[int], frames: int | None, expected: list[tuple[int, int]]) -> None:
    assert [(run.start, run.stop) for run in equal_runs(lengths, frames)] == expected
