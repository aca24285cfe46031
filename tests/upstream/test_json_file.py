"""JSON that others wrote: read, or refused with a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upstream.errors import UserError
from upstream.json_file import parse_json, read_json, read_json_object


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("{broken", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 200 + "]" * 200, "more than 100"),
        ('{"a": ' * 200 + "1" + "}" * 200, "more than 100"),
        ("1" * 5_000, "an integer of 5000 digits"),
        ("[-" + "9" * 400 + "]", "an integer of 401 digits"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ("1e999", "1e999 is too large"),
        ('{"a": 1, "a": 2}', "'a' has two values"),
        (r'{"name": "\ud800"}', "surrogate"),
        (r'{"\udfff": 1}', "surrogate"),
        (b'{"name": "\xfc"}', "not valid JSON"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_text_that_later_code_would_stumble_over(text: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_json(text, "file.json")


def test_honest_text_is_read(tmp_path: Path) -> None:
    text = '{"a": [1, -2, 0.5, 1e-8, true, null, 18446744073709551615], "b": {"ü": "😀"}, "c": 1, "c": 1}'
    expected = {"a": [1, -2, 0.5, 1e-8, True, None, 2**64 - 1], "b": {"ü": "😀"}, "c": 1}
    assert parse_json(text, "text") == expected
    (tmp_path / "bom.json").write_text(text, encoding="utf-8-sig")
    assert read_json(tmp_path / "bom.json") == expected


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("gone.json")
    (tmp_path / "list.json").write_text("[]")
    for name, words in (
        ("folder.json", "is a folder"),
        ("pipe.json", "is a pipe"),
        ("link.json", "is a link to gone.json"),
        ("missing.json", "There is no file"),
        ("list.json", "holds a list"),
        ("list.json/inside.json", "There is no file"),
        ("a" * 300, "Cannot read"),
        ("zero\0byte", "Cannot read"),
    ):
        with pytest.raises(UserError, match=words):
            read_json_object(tmp_path / name)
