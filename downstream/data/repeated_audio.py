"""Equal audio under several names: said where it is counted twice, refused where its rows contradict each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from downstream.data.corpora.files import shown
from downstream.data.corpus import Corpus, Utterance
from downstream.data.splits import Split
from upstream.encode import Item
from upstream.errors import UserError
from upstream.text import counted


def repeated_audio(split: Split, utterances: Sequence[Utterance], items: Sequence[Item]) -> list[str]:
    """Return sentences on audio that is here under several names: in training and test, or counted twice in a part."""
    ids: dict[str, list[str]] = defaultdict(list)
    for utterance, item in zip(utterances, items, strict=True):
        ids[item.digest].append(utterance.id)
    repeated = {digest for digest, names in ids.items() if len(names) > 1}
    crossing: set[str] = set()
    for fold in split.folds:
        crossing |= {items[i].digest for i in fold.train} & {items[i].digest for i in fold.test}
    notes = []
    for digests, what in ((crossing & repeated, "in training and test"), (repeated - crossing, "counted")):
        names = sorted(name for digest in digests for name in ids[digest])
        if names:
            which = counted(len(digests), "recording is", "recordings are")
            notes.append(f"{which} {what} under several names: {shown(names)}.")
    return notes


# ---------------------------------------------------------------- contradictions


@dataclass(frozen=True)
class Said:
    """What a row says of its audio: who speaks, and what is learned of it; "" where it says nothing."""

    id: str
    speaker: str
    learned: str

    def contradicts(self, other: Said) -> str:
        """Return in what two rows of the same audio differ, in words; "" if they do not."""
        if self.speaker and other.speaker and self.speaker != other.speaker:
            return f"speakers ({self.speaker!r} and {other.speaker!r})"
        if self.learned and other.learned and self.learned != other.learned:
            return f"labels ({self.learned!r} and {other.learned!r})"
        return ""


def contradictions(
    corpus: Corpus, column: str, utterances: Sequence[Utterance], labels: Sequence[str], items: Sequence[Item]
) -> list[str]:
    """Return a sentence on equal audio of several speakers or labels, or none.

    column, labels: what is learned, as in `Choice`.
    Raises UserError with that sentence for a folder that its user can mend; a published corpus is as it is.
    """
    if len({item.digest for item in items}) == len(items):
        return []
    rows = defaultdict(list)
    for index, (utterance, item) in enumerate(zip(utterances, items, strict=True)):
        learned = labels[index] if labels else (utterance.text or "") if column == "text" else ""
        rows[item.digest].append(Said(utterance.id, utterance.speaker, learned))
    pairs = [
        (first, other, what)
        for first, *others in rows.values()
        for other in others
        if (what := first.contradicts(other))
    ]
    if not pairs:
        return []
    first, other, what = pairs[0]
    more = f", and so have {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
    sentence = f"{first.id} and {other.id} are the same audio with different {what}{more}."
    if corpus.published is not None:
        return [sentence]
    raise UserError(
        f"{sentence} One of two is wrong, or each is a part of the recording: name its channel, or its start and "
        "duration, in the manifest, or leave one out."
    )
