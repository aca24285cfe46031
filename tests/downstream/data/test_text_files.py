"""Text files as people and systems write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trees import message

from downstream.data.text_files import read_lines, read_text

LINES = ["one", "zw\u00f6lf", "", "three\u2028still three"]


@pytest.mark.parametrize(
    "content",
    [
        "one\nzw\u00f6lf\n\nthree\u2028still three\n".encode(),
        "\ufeffone\nzw\u00f6lf\n\nthree\u2028still three".encode(),
        "one\r\nzw\u00f6lf\r\n\r\nthree\u2028still three\r\n".encode(),
        "one\rzwo\u0308lf\r\rthree\u2028still three\r".encode(),
        "\ufeffone\n\ufeffzw\u00f6lf\n\nthree\u2028still three\n".encode(),  # two files with marks, joined
    ],
    ids=["plain", "mark", "windows", "old mac, decomposed", "joined"],
)
def test_lines_are_the_same_whatever_wrote_them(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    assert read_lines(tmp_path / "list.txt") == LINES


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"")
    assert read_lines(tmp_path / "list.txt") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("one\r\nsüß\r\n".encode("latin-1"), "list.txt, line 2: the byte 0xfc is not UTF-8"),
        ("one\rtwo\rsüß".encode("cp1252"), "list.txt, line 3: the byte 0xfc is not UTF-8"),
        ("one\ntwo\n".encode("utf-16"), "list.txt is text in UTF-16 from its first line on; save it as text in UTF-8"),
        ("one\ntwo\n".encode("utf-32"), "is text in UTF-32"),
        ("one\ntwo\n".encode("utf-16-le"), "list.txt, line 1: a NUL byte"),
        (b"one\ntwo\0\n", "list.txt, line 2: a NUL byte"),
    ],
)
def test_what_is_no_utf_8_is_said_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    assert said in message(read_text, tmp_path / "list.txt")


def test_odd_bytes_are_escaped_where_they_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "readers.txt").write_bytes(b"26 | M | Jos\xe9\n")
    assert read_text(tmp_path / "readers.txt", tolerant=True) == "26 | M | Jos\\xe9\n"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe, not a file" in message(read_text, tmp_path / "pipe")
    assert "is a folder, not a file" in message(read_text, tmp_path)
    assert "There is no file" in message(read_text, tmp_path / "absent")
