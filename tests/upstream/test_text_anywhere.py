"""Names and texts that can be written anywhere, and are equal where they read alike."""

from __future__ import annotations

import os

import pytest

from upstream.errors import UserError, sentence
from upstream.text import composed, one_line, printable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain.wav", "plain.wav"),
        ("h\u00f6her.wav".encode(), "h\u00f6her.wav"),
        (b"caf\xe9.wav", r"caf\xe9.wav"),
        (b"\xff\xfe/\xc3\xa9", "\\xff\\xfe/\u00e9"),
    ],
)
def test_bytes_of_file_names_become_printable(raw: bytes, shown: str) -> None:
    assert printable(os.fsdecode(raw)) == shown
    shown.encode()


def test_bytes_that_python_decoded_as_ascii_are_put_together() -> None:
    assert printable("caf\udcc3\udca9") == "caf\u00e9"  # as the arguments of a process are under LC_ALL=C


def test_surrogates_of_no_byte_are_written_out() -> None:
    assert printable("a\ud800\udfffb") == r"a\ud800\udfffb"  # JSON may hold them


def test_a_name_is_shown_in_one_line() -> None:
    assert one_line("a\nb\x1b[31m\udce9 \u00e9") == r"a\nb\x1b[31m\xe9 é"


def test_letters_are_composed() -> None:
    assert composed("ho\u0308her") == "h\u00f6her"
    assert composed("ae\udce9") == r"ae\xe9"


def test_errors_can_be_read() -> None:
    said = str(UserError(f"The column {'x' * 200_000} is unknown. Rename it."))
    assert len(said) < 4000
    assert said.startswith("The column x")
    assert said.endswith("x is unknown. Rename it.")


def test_errors_can_be_printed() -> None:
    assert str(UserError("no file caf\udce9")) == r"no file caf\xe9"
    said = sentence(FileNotFoundError(2, "No such file", "caf\udce9"))
    assert said.startswith(r"caf\xe9: No such file")
