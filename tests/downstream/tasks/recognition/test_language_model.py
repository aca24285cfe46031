"""Language models that are none, found before KenLM reads them: it crashes on some."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from downstream.tasks.recognition.language_model import check_language_model
from upstream.errors import UserError

BIGRAMS = """
\\data\\
ngram 1=4
ngram  2 = 1

\\1-grams:
-99\t<s>\t-0.3
-1.0\t</s>
-0.7\tHÖR\t-0.2
-0.7\tB

\\2-grams:
-0.1\t<s> HÖR

\\end\\
"""


def written(folder: Path, content: bytes) -> Path:
    path = folder / "model.arpa"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        BIGRAMS.encode(),
        gzip.compress(BIGRAMS.encode(), mtime=0),
        BIGRAMS.replace("\n", "\r\n").encode(),
        b"mmap lm http://kheafield.com/code format version 5\n\0\xff\xfe",  # KenLM checks its own format
    ],
)
def test_what_kenlm_may_read_passes(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    check_language_model(path, ["HÖR", "UNHEARD"])
    check_language_model(path, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BIGRAMS.replace("1=4", "1=-4").encode(), "line 3 is 'ngram 1=-4'; expected 'ngram 1='"),
        (BIGRAMS.replace("1=4", "1=0").encode(), "line 3 is 'ngram 1=0'"),
        (BIGRAMS.replace(" 2 =", " 9 =").encode(), "line 4 is 'ngram  9 = 1'; expected 'ngram 2='"),
        (BIGRAMS.encode("latin-1"), "Line 9 .* not text in UTF-8"),
        (BIGRAMS.encode("utf-16"), "Line 1 .* not text in UTF-8"),
        (b"\xef\xbb\xbf" + BIGRAMS.lstrip().encode(), "byte order mark; save it without"),
        (gzip.compress(BIGRAMS.encode(), mtime=0)[:60], "cannot be read: .*Copy it again"),
        (b"<html>no model</html>", "line 1 is '<html>no model</html>'"),
        (b"", "line 1 is ''"),
    ],
)
def test_what_is_no_language_model_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        check_language_model(written(tmp_path, content), ["B"])


def test_a_model_that_knows_no_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="knows none of the 2 words that can be said, such as b; .* written as B, HÖR"):
        check_language_model(written(tmp_path, BIGRAMS.encode()), ["hör", "b"])
