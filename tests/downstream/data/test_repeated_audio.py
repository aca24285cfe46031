"""Equal audio under several names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_corpora import row

from downstream.data.corpus import Corpus, PublishedCounts
from downstream.data.repeated_audio import contradictions, repeated_audio
from downstream.data.splits import Fold, Split
from upstream.encode import Item
from upstream.errors import UserError


def test_audio_under_two_names_is_said() -> None:
    rows = [row(name) for name in "abcdef"]
    items = [Item(u.id, u.audio, digest, 1.0) for u, digest in zip(rows, "112344", strict=True)]
    apart = Split((Fold("f", (0, 2), (3,), (1, 4, 5)),), "rule")
    assert repeated_audio(apart, rows, items) == [
        "1 recording is in training and test under several names: a, b.",
        "1 recording is counted under several names: e, f.",
    ]
    distinct = [replace(item, digest=item.name) for item in items]
    assert repeated_audio(apart, rows, distinct) == []


def test_one_utterance_in_two_parts_has_one_name() -> None:
    """SUPERB develops on its verification test, and draws its keywords' development set with replacement."""
    rows = [row("a"), row("b")]
    items = [Item(u.id, u.audio, u.id, 1.0) for u in rows]
    assert repeated_audio(Split((Fold("f", (0,), (1, 1), (1,)),), "rule"), rows, items) == []


# ---------------------------------------------------------------- contradictions


def said(rows: list[tuple[str, str]], column: str = "emotion", **fields: object) -> list[str]:
    """What is said of rows of equal audio, by their speakers and labels, or transcripts."""
    texts = column == "text"
    utterances = [row(f"u{i}", who, text=what if texts else None) for i, (who, what) in enumerate(rows)]
    items = [Item(u.id, u.audio, "equal", 1.0) for u in utterances]
    corpus = Corpus("own", "Own", "none", tuple(utterances), "nowhere", **fields)  # type: ignore[arg-type]
    return contradictions(corpus, column, utterances, () if texts else [what for _, what in rows], items)


def test_equal_audio_of_several_speakers_or_labels_is_refused() -> None:
    for rows, words in (
        ([("ann", "sad"), ("bob", "sad")], r"u0 and u1 are the same audio with different speakers \('ann' and 'bob'\)"),
        ([("ann", "sad"), ("ann", "glad")], r"different labels \('sad' and 'glad'\)"),
        ([("", "sad"), ("", "glad"), ("", "angry")], "and so have 1 more pairs"),
    ):
        with pytest.raises(UserError, match=words):
            said(rows)
    with pytest.raises(UserError, match="different labels"):
        said([("ann", "YES"), ("ann", "NO")], "text")


def test_equal_audio_with_the_same_speaker_and_label_passes() -> None:
    assert said([("ann", "sad"), ("ann", "sad"), ("", "sad")]) == []
    assert said([("ann", "YES"), ("ann", "YES")], "text") == []


def test_a_published_corpus_that_contradicts_itself_is_noted() -> None:
    (note,) = said([("ann", "sad"), ("bob", "sad")], published=PublishedCounts(2, 2))
    assert note.startswith("u0 and u1 are the same audio")
