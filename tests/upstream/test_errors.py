"""The words of errors of others, and which of them say that memory ran out."""

from __future__ import annotations

import errno

import pytest
import torch

from upstream.errors import UserError, words_of
from upstream.out_of_memory import is_out_of_memory


class SilentError(Exception):
    def __str__(self) -> str:
        raise ValueError("this fails too")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError("two\nlines."), "RuntimeError: two lines"),
        (TimeoutError(), "TimeoutError"),
        (SilentError(), "SilentError"),
        (RuntimeError("wait timeout after 9ms\nException raised from wait at Store.cpp:1 (first)\nframe #0: c10"),
         "RuntimeError: wait timeout after 9ms"),
    ],
)  # fmt: skip
def test_every_error_has_words_in_one_line(error: Exception, words: str) -> None:
    assert words_of(error) == words


def test_long_words_are_cut() -> None:
    assert len(words_of(ValueError("x" * 10_000))) < 400


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("a shape"), False),
        (UserError("out of memory.wav is empty; leave it out."), False),
    ],
)
def test_running_out_of_memory_is_told_from_a_sentence_that_quotes_it(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory
