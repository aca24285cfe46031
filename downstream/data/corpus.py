"""The table that every corpus is read into: utterances, with audio, labels, splits and timed segments."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from downstream.data.audio import AudioCut
from upstream.errors import UserError
from upstream.text import composed, counted, printable


def compose_fields(row: object, names: Iterable[str]) -> None:
    """Compose the letters of some text fields of a frozen dataclass, while it is made."""
    for name in names:
        text = getattr(row, name)
        if text is not None and not text.isascii():
            object.__setattr__(row, name, composed(text))


@dataclass(frozen=True)
class TimedSegment:
    """An annotated stretch of an utterance: who speaks, what is said, or what it is.

    start, end: seconds from the start of the utterance (not of the recording it is cut from), 0 <= start < end,
        before effects: removing silence moves the audio and leaves these times as they are.
    speaker, label, text: "" where not annotated.

    Segments of one utterance may overlap. Letters are composed (NFC). Raises UserError for times that are no interval.
    """

    start: float
    end: float
    speaker: str = ""
    label: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        compose_fields(self, ("speaker", "label", "text"))
        if not (0 <= self.start < self.end < math.inf):
            raise UserError(
                f"A timed segment cannot last from {self.start:g} s to {self.end:g} s; write seconds with "
                "0 <= start < end."
            )


@dataclass(frozen=True)
class Utterance:
    """One row.

    id: unique in its corpus.
    audio: the recording and the part of it that is this utterance.
    speaker: the speaker's id in the corpus.
    labels: class labels by column: {"emotion": "happy"}, {"keyword": "yes"}.
    text: the transcript, if there is one.
    split: "train", "dev" or "test" if the corpus publishes a split.
    group: unit that folds keep together if it is larger than the speaker (an IEMOCAP session).
    gender: "female" or "male" if the corpus gives it; folds are balanced by it.
    part: the corpus's name of the part it is in, if that is finer than `split` ("test-other").
    speech: False for background noise, which has no speaker.
    segments: annotated stretches of it, if the corpus has them. Not part of `Corpus.fingerprint`.

    Letters of every field are composed (NFC), so that equal names are equal whatever file or system they come from,
    and bytes of file names that are no UTF-8 are escaped.
    """

    id: str
    audio: AudioCut
    speaker: str
    labels: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    split: str | None = None
    group: str | None = None
    gender: str | None = None
    part: str | None = None
    speech: bool = True
    segments: tuple[TimedSegment, ...] = ()

    def __post_init__(self) -> None:
        compose_fields(self, ("id", "speaker", "text", "split", "group", "gender", "part"))
        if self.labels and not all(column.isascii() and label.isascii() for column, label in self.labels.items()):
            labels = {composed(column): composed(label) for column, label in self.labels.items()}
            object.__setattr__(self, "labels", labels)


@dataclass(frozen=True)
class PublishedCounts:
    """Size of the whole corpus as published, to state how much of it is here.

    labels: utterances of each label, by label column.
    source: where the counts are stated.
    """

    utterances: int
    speakers: int
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus as found on disk or on the hub.

    name: its name in the catalogue of corpora.
    source: the folder or hub repository it was read from.
    published: size of the whole corpus, None if open-ended.
    revision: commit of the hub repository, None otherwise.
    synthetic: True for synthesised speech, which is stated wherever a score appears.
    notes: sentences that a reader of a score on this corpus should know.
    trials: the published list of verification trials on its test part, if it was found beside the corpus.
    subfolders: the column of labels that are names of subfolders, which are speakers where speakers are learned; None
        where labels are what they are called.
    """

    name: str
    title: str
    licence: str
    utterances: tuple[Utterance, ...]
    source: str
    published: PublishedCounts | None = None
    revision: str | None = None
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    trials: Path | None = None
    subfolders: str | None = None

    def __post_init__(self) -> None:
        for name in ("title", "source"):
            object.__setattr__(self, name, printable(getattr(self, name)))
        object.__setattr__(self, "notes", tuple(map(printable, self.notes)))
        repeated = [name for name, count in Counter(u.id for u in self.utterances).items() if count > 1]
        if repeated:
            raise UserError(
                f"{counted(len(repeated), 'utterance id occurs', 'utterance ids occur')} more than once in {self.name} "
                f"in {self.source}, {repeated[0]!r} first; ids must be unique. Rename "
                "them, or write others into a column id."
            )

    def coverage(self) -> str:
        """How much of the published corpus is here, in words."""
        here, speakers = len(self.utterances), len({u.speaker for u in self.utterances if u.speaker})
        if self.published is None:
            return f"{here} utterances, {f'{speakers} speakers' if speakers else 'speakers not known'}"
        share = here / self.published.utterances
        whole = "the whole corpus" if here == self.published.utterances else f"{share:.1%} of the corpus"
        return (
            f"{here} of {self.published.utterances} published utterances ({whole}), "
            f"{speakers} of {self.published.speakers} speakers"
        )

    def fingerprint(self, digests: Mapping[str, str]) -> str:
        """Digest of every row, audio included and timed segments excluded (`segments_digest` covers these).

        digests: audio digest of each utterance id (`AudioCut.digest`).
        """
        rows = sorted(
            repr((u.id, digests[u.id], u.speaker, sorted(u.labels.items()), u.text, u.split, u.group, u.gender, u.part))
            for u in self.utterances
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def segments_digest(utterances: Iterable[Utterance]) -> str:
    """SHA-256 of the ids and timed segments of some utterances, whatever the order of either.

    For task families that read segments; fingerprints of corpora do not cover them.
    """
    rows = [
        repr((u.id, sorted((float(s.start), float(s.end), s.speaker, s.label, s.text) for s in u.segments)))
        for u in sorted(utterances, key=lambda u: u.id)
    ]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()
