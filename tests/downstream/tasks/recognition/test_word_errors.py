"""Error counts against two libraries and by hand, and what the report tells."""

from __future__ import annotations

import math
import random

import pytest

from downstream.tasks.recognition.word_errors import (
    ErrorCounts,
    count_characters,
    count_words,
    error_report,
    total,
    transcript_lines,
)

jiwer = pytest.importorskip("jiwer")

WORDS = ["THE", "A", "CAT", "SAT", "ON", "MAT", "IT'S"]


def random_pairs(number: int) -> tuple[list[str], list[str]]:
    """Sentences and others that share some of their words; the first one empty, a few hypotheses too."""
    draw = random.Random(0)
    references = [" ".join(draw.choices(WORDS, k=draw.randrange(1, 12))) for _ in range(number)]
    hypotheses = []
    for reference in references:
        kept = [word for word in reference.split() if draw.random() < 0.8]
        kept = [draw.choice(WORDS) if draw.random() < 0.2 else word for word in kept]
        for _ in range(draw.randrange(3)):
            kept.insert(draw.randrange(len(kept) + 1), draw.choice(WORDS))
        hypotheses.append(" ".join(kept))
    return ["", *references], ["A CAT", *hypotheses]


def test_rates_are_jiwers() -> None:
    references, hypotheses = random_pairs(300)
    assert "" in hypotheses
    assert total(count_words(references, hypotheses)).rate == pytest.approx(jiwer.wer(references, hypotheses))
    assert total(count_characters(references, hypotheses)).rate == pytest.approx(jiwer.cer(references, hypotheses))


def test_distances_are_torchaudios() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    references, hypotheses = random_pairs(200)
    words, characters = count_words(references, hypotheses), count_characters(references, hypotheses)
    for index, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        assert words[index].errors == functional.edit_distance(reference.split(), hypothesis.split())
        assert characters[index].errors == functional.edit_distance(reference, hypothesis)
        assert words[index].reference_length == len(reference.split())
        assert characters[index].reference_length == len(reference)
        gained = len(hypothesis.split()) - len(reference.split())
        assert words[index].insertions - words[index].deletions == gained


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters"),
    [
        ("THE CAT SAT", "THE CAT SAT", (0, 0, 0, 3), (0, 0, 0, 11)),
        ("THE CAT SAT", "THE BAT SAT", (1, 0, 0, 3), (1, 0, 0, 11)),
        ("THE CAT SAT", "THE SAT", (0, 1, 0, 3), (0, 4, 0, 11)),
        ("THE CAT", "THE FAT CAT", (0, 0, 1, 2), (0, 0, 4, 7)),
        ("A B C D", "B C D D", (0, 1, 1, 4), (3, 0, 0, 7)),
        ("INTO", "IN TO", (1, 0, 1, 1), (0, 0, 1, 4)),
        ("A B", "", (0, 2, 0, 2), (0, 3, 0, 3)),
        ("", "A B", (0, 0, 2, 0), (0, 0, 3, 0)),
        ("", "", (0, 0, 0, 0), (0, 0, 0, 0)),
        (" A \t B\n", "A B", (0, 0, 0, 2), (0, 0, 0, 3)),
    ],
)
def test_counts_by_hand(reference: str, hypothesis: str, words: tuple[int, ...], characters: tuple[int, ...]) -> None:
    assert count_words([reference], [hypothesis]) == [ErrorCounts(*words)]
    assert count_characters([reference], [hypothesis]) == [ErrorCounts(*characters)]


def test_rates_of_totals_weigh_utterances_by_their_words() -> None:
    counts = count_words(["A", "A B C D", ""], ["B", "A B C D", "X"])
    assert [own.rate for own in counts] == [1.0, 0.0, math.inf]
    assert total(counts) == ErrorCounts(1, 0, 1, 5)
    assert total(counts).rate == 2 / 5
    assert total([]).rate == 0.0


def test_no_utterances() -> None:
    assert count_words([], []) == count_characters([], []) == []
    assert "Utterances 0" in error_report([], [], [])


def test_as_many_hypotheses_as_references() -> None:
    for count in (count_words, count_characters):
        with pytest.raises(ValueError, match="match"):
            count(["A", "B"], ["A"])


REFERENCES = ["THE CAT SAT ON THE MAT", "THE MAT", "IT IS", "FINE"]
HYPOTHESES = ["A BAT SAT ON A MAT UP", "A MAT", "IS", "FINE"]


def test_the_report() -> None:
    report = error_report(["one", "two", "three", "four"], REFERENCES, HYPOTHESES)
    assert report.splitlines()[:4] == [
        "WER 54.55 %: 6 errors, 11 words in the references",
        "  substitutions        4   66.67 % of the errors   36.36 % of the words",
        "  deletions            1   16.67 % of the errors    9.09 % of the words",
        "  insertions           1   16.67 % of the errors    9.09 % of the words",
    ]
    assert "CER " in report
    assert "Utterances 4, without a word error 1 (25.00 %)." in report
    assert "     3  THE -> A\n     1  CAT -> BAT\n" in report
    assert "Most deleted words\n     1  IT\n" in report
    assert "Most inserted words\n     1  UP\n" in report
    assert "four:" not in report
    assert report.index("one: word errors 4") < report.index("two: word errors 1") < report.index("three:")
    assert (
        "one: word errors 4, words in the reference 6\n"
        "  REF: THE CAT SAT ON THE MAT **\n"
        "  HYP:   A BAT SAT ON   A MAT UP\n"
        "         S   S          S      I\n"
    ) in report


def test_the_report_counts_word_by_word_and_shows_so_many() -> None:
    report = error_report(["one", "two"], ["A A B C", "E F"], ["", "E F Y Y X"], shown=1)
    assert "Most deleted words\n     2  A\n        and 2 more\n" in report
    assert "Most inserted words\n     2  Y\n        and 1 more\n" in report
    assert "one:" in report
    assert "two:" not in report


def test_a_report_without_errors_has_no_lists() -> None:
    report = error_report(["one"], ["A B"], ["A B"])
    assert report.startswith("WER 0.00 %: 0 errors, 2 words")
    assert "Most" not in report
    assert "most" not in report


def test_long_utterances_are_broken_into_lines() -> None:
    text = " ".join(f"WORD{number}" for number in range(60))
    report = error_report(["long"], [text], [text + " MORE"])
    assert max(map(len, report.splitlines())) <= 110
    assert "WORD59" in report


def test_transcript_lines() -> None:
    lines = transcript_lines(["84-121123-0000", "a b/c.wav", "a_b/c.wav", "silent"], ["GO  DO", "YES\n", "NO", ""])
    assert lines == "84-121123-0000 GO DO\na%20b/c.wav YES\na_b/c.wav NO\nsilent\n"
