"""Transcripts that make an error rate say less than it seems."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from downstream.tasks.recognition.text import normalise
from downstream.tasks.recognition.transcript_notes import transcript_notes


def notes(*texts: str, primary: str = "wer") -> Sequence[str]:
    return list(transcript_notes(texts, list(map(normalise, texts)), primary))


def test_marks_of_annotators_are_named_and_counted() -> None:
    (note,) = notes(
        "so <unk> it [laughter]", "(()) and <unk>", "nothing (for example), f(x)", "{breath} *cough* (Noise)"
    )
    assert note.startswith(
        "3 transcripts have marks of annotators, which are learned and scored as words: <unk> (2), [laughter] (1), "
        "(()) (1), {breath} (1), *cough* (1) and 1 more."
    )
    assert "((inaudible)) (1), &=laughs (1)." in notes("((inaudible)) &=laughs")[0]


@pytest.mark.parametrize(
    "text", ["Don't stop (now)!", "3 < 4 and 5 > 4", "2 * 3 * 4", "a [", "Ende {", "LibriSpeech's transcripts"]
)
def test_other_signs_are_no_marks(text: str) -> None:
    assert notes(text) == []


@pytest.mark.parametrize("texts", [("今天天气很好", "向上走"), ("こんにちは世界",), ("สวัสดีครับ วันนี้",), ("ខ្ញុំស្រលាញ់អ្នក",)])
def test_phrases_without_blanks_are_said_to_be_no_words(texts: Sequence[str]) -> None:
    (note,) = notes(*texts)
    assert "choose -o primary=cer" in note
    assert notes(*texts, primary="cer") == []


@pytest.mark.parametrize(
    "texts",
    [
        ("今天 天气 很 好",),  # segmented
        ("ภาษา ไทย",),
        ("是", "不是"),  # single words
        ("안녕하세요 세계",),
        ("the word 世界 in a longer English text",),
        ("internationalisation",),
        (),
    ],
)
def test_words_are_words(texts: Sequence[str]) -> None:
    assert notes(*texts) == []


def test_turkish_capitals_are_said_to_be_read_as_elsewhere() -> None:
    assert "Turkish ı" in notes("Irak'ta ılık")[0]
    assert notes("ırak'ta ılık") == notes("I think") == []
