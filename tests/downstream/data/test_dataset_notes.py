"""Labels and names that may not mean what they seem to."""

from __future__ import annotations

import pytest
from small_corpora import noise, row

from downstream.data.corpus import Utterance
from downstream.data.dataset_notes import dataset_notes


def labelled(*labels: str) -> list[Utterance]:
    return [row(f"u{i}", labels={"emotion": label}) for i, label in enumerate(labels)]


@pytest.mark.parametrize("missing", ["nan", "NaN", "None", "null", "N/A", "<NA>", "-"])
def test_classes_that_read_like_missing_labels_are_said(missing: str) -> None:
    rows = labelled("happy", missing, "sad", missing)
    (note,) = dataset_notes("emotion", rows, [u.labels["emotion"] for u in rows])
    assert note.startswith(f"2 utterances have the label in the column emotion {missing!r}, which reads as if there")


def test_speakers_and_transcripts_that_read_like_missing_ones_are_said() -> None:
    rows = [row("a", "nan", text="null"), row("b", "ann", text="NaN"), row("c", "bob", text="no")]
    said = dataset_notes("text", rows, ())
    assert [note.partition(",")[0] for note in said] == [
        "1 utterance has the speaker 'nan'",
        "1 utterance has the transcript 'NaN'",
        "1 utterance has the transcript 'null'",
    ]
    assert len(dataset_notes("speaker", rows, ())) == 1  # texts are not learned


def test_words_that_are_labels_are_not_doubted() -> None:
    words = ["no", "none of these", "nano", "0", "neutral", "unknown", "_silence_", "off"]
    assert dataset_notes("word", [*labelled(*words), noise("rain", 1.0)], words) == []


def test_names_that_are_hard_to_tell_apart_are_said() -> None:
    rows = [row("a", "S1"), row("b", "s1"), row("c", "s2"), row("d", "s2\u200b"), row("e", "s3")]
    labels = ["happy", "Happy", "very sad", "very  sad", "calm"]
    classes, speakers = dataset_notes("emotion", rows, labels)
    assert classes.endswith("for different ones: 'Happy' and 'happy', 'very  sad' and 'very sad'.")
    assert speakers.endswith("for different ones: 'S1' and 's1', 's2' and 's2\\u200b'.")
    assert dataset_notes("emotion", rows[4:], labels[4:]) == []


def test_numbers_that_a_table_wrote_in_two_ways_are_said() -> None:
    """pandas writes 1.0 where a column has empty cells, and spreadsheets drop the zeros that an id begins with."""
    names = ("1", "1.0", "007", "7", "10", "100", "1.5", "0", "2a", "2")
    (note,) = dataset_notes("emotion", [row(f"u{i}", name) for i, name in enumerate(names)], ())
    assert note.endswith("for different ones: '007' and '7', '1' and '1.0'.")
