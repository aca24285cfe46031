"""The table of a corpus: timed segments, their digest, and a fingerprint that does not depend on them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from downstream.data.acoustics import sound_intervals
from downstream.data.audio import AudioCut, AudioFile
from downstream.data.corpus import Corpus, TimedSegment, Utterance, segments_digest
from downstream.data.noise import noise_window
from upstream.errors import UserError


def row(name: str, *segments: TimedSegment) -> Utterance:
    return Utterance(name, AudioCut(AudioFile(Path(f"{name}.wav"))), "ann", segments=segments)


@pytest.mark.parametrize(
    ("start", "end"), [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (0.0, math.inf), (math.nan, 1.0), (0.0, math.nan)]
)
def test_times_that_are_no_interval_are_refused(start: float, end: float) -> None:
    with pytest.raises(UserError, match="0 <= start < end"):
        TimedSegment(start, end)


def test_the_digest_of_segments_by_hand() -> None:
    utterances = [row("b"), row("a", TimedSegment(1, 2.5, "ann", "x", "yes"), TimedSegment(0.5, 1))]
    rows = "('a', [(0.5, 1.0, '', '', ''), (1.0, 2.5, 'ann', 'x', 'yes')])\n('b', [])"
    assert segments_digest(utterances) == hashlib.sha256(rows.encode()).hexdigest()


def test_the_digest_depends_on_every_field_and_on_no_order() -> None:
    first, second = TimedSegment(0.0, 1.0, "ann", "x", "yes"), TimedSegment(0.5, 2.0)
    digest = segments_digest([row("a", first, second), row("b")])
    assert segments_digest([row("b"), row("a", second, first)]) == digest
    assert segments_digest([row("a", replace(first, start=np.float64(0)), second), row("b")]) == digest
    changed = [
        [row("a", first, second)],
        [row("a", first), row("b", second)],
        *(
            [row("a", replace(first, **change), second), row("b")]
            for change in ({"start": 0.1}, {"end": 1.1}, {"speaker": ""}, {"label": ""}, {"text": ""})
        ),
    ]
    assert len({digest, *map(segments_digest, changed)}) == len(changed) + 1


def test_segments_are_not_in_the_fingerprint_of_a_corpus() -> None:
    """The digest is that of version 0.1, by which runs on disk are found."""
    plain = Corpus("x", "X", "", (row("a"),), "folder")
    timed = replace(plain, utterances=(row("a", TimedSegment(0.0, 1.0)),))
    expected = hashlib.sha256(b"('a', 'digest', 'ann', [], None, None, None, None, None)").hexdigest()
    assert plain.fingerprint({"a": "digest"}) == timed.fingerprint({"a": "digest"}) == expected


def test_a_window_of_noise_drops_the_segments_of_its_recording() -> None:
    assert noise_window(row("rain", TimedSegment(0.0, 1.0)), 0.5, 1.0).segments == ()


# Intervals of sound: frames of 10 ms are 160 samples


def tones(*parts: tuple[int, float]) -> np.ndarray:
    """Stretches of (samples, amplitude), alternating in sign."""
    levels = np.concatenate([np.full(count, level) for count, level in parts])
    return levels * (1 - 2 * (np.arange(len(levels)) % 2))


def test_sound_intervals_by_hand() -> None:
    """-39 dB is loud enough, -41 dB is not; a pause of 5 frames is bridged at 0.06 s, and is one at 0.05 s."""
    loud, soft, faint = 1.0, 10 ** (-39 / 20), 10 ** (-41 / 20)
    signal = tones((320, 0.0), (160, faint), (480, loud), (160, soft), (800, faint), (160, loud), (100, faint))
    assert sound_intervals(signal, 0.01, 40.0, 0.05) == [(480, 1120), (1920, 2080)]
    assert sound_intervals(signal, 0.01, 40.0, 0.06) == [(480, 2080)]
    assert sound_intervals(signal, 0.01, 45.0, 0.05) == [(320, 2180)]


def test_sound_to_the_end_and_none_at_all() -> None:
    assert sound_intervals(tones((170, 0.5)), 0.01, 40.0, 0.1) == [(0, 170)]
    assert sound_intervals(np.zeros(500), 0.01, 40.0, 0.1) == []
