"""The one table that every corpus is read into."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from downstream.audio import Segment
from upstream.errors import MendableError


@dataclass(frozen=True)
class Utterance:
    """One row.

    id: unique in its corpus.
    audio: the recording and the part of it that is this utterance.
    speaker: the speaker's id in the corpus.
    labels: what can be learned of it, by column: {"emotion": "happy"}, {"keyword": "yes"}.
    text: the transcript, where there is one.
    split: "train", "dev" or "test" where the corpus publishes a split.
    speech: whether somebody speaks in it; False for background noise, which has no speaker.
    part: the corpus's own name of the part it is in, where that says more than `split` ("test-other").
    group: what must not be torn apart by folds where it is coarser than the speaker (an IEMOCAP session).
    gender: "female" or "male" where the corpus says so; folds are balanced by it.
    """

    id: str
    audio: Segment
    speaker: str
    labels: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    split: str | None = None
    group: str | None = None
    gender: str | None = None
    part: str | None = None
    speech: bool = True


@dataclass(frozen=True)
class Published:
    """What the whole corpus holds by its publication, to say how much of it is here.

    labels: utterances of each label, by label column.
    source: where the counts are stated.
    """

    utterances: int
    speakers: int
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus as it was found.

    name: its name in the catalogue of corpora.
    source: the folder or hub repository it was read from.
    revision: commit of the hub repository, None otherwise.
    synthetic: whether the speech was made by a synthesiser; said wherever a score appears.
    trials: the published list of verification trials on its test part, where it was found beside the corpus.
    notes: sentences a reader of a score on this corpus should know.
    """

    name: str
    title: str
    licence: str
    utterances: tuple[Utterance, ...]
    source: str
    published: Published | None = None
    revision: str | None = None
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    trials: Path | None = None

    def __post_init__(self) -> None:
        repeated = [name for name, count in Counter(u.id for u in self.utterances).items() if count > 1]
        if repeated:
            raise MendableError(
                f"{len(repeated)} utterance ids of {self.name} in {self.source} occur more than once, "
                f"{repeated[0]!r} first; ids must be unique."
            )

    def coverage(self) -> str:
        """How much of the published corpus is here, in words."""
        here, speakers = len(self.utterances), len({u.speaker for u in self.utterances if u.speaker})
        if self.published is None:
            return f"{here} utterances, {speakers} speakers"
        share = here / self.published.utterances
        whole = "the whole corpus" if here == self.published.utterances else f"{share:.1%} of the corpus"
        return (
            f"{here} of {self.published.utterances} published utterances ({whole}), "
            f"{speakers} of {self.published.speakers} speakers"
        )

    def fingerprint(self, digests: Mapping[str, str]) -> str:
        """Digest of every row, audio included.

        digests: audio digest of each utterance id (`Segment.digest`).
        """
        rows = sorted(
            repr((u.id, digests[u.id], u.speaker, sorted(u.labels.items()), u.text, u.split, u.group, u.gender, u.part))
            for u in self.utterances
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()
