"""Folds of a corpus (train, dev and test utterances), each made by a rule that one sentence states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downstream.data.ties import tied
from upstream.errors import UserError
from upstream.text import counted

if TYPE_CHECKING:
    from downstream.data.corpus import Utterance

FEWEST_FOLDS = 3  # one group for test, one for dev, one or more for train
SUPERB_FOLDS = 5
DISJOINT = ("speakers", "groups", "recordings")  # each may be in one part of a fold only
PARTS = ("train", "dev", "test")

BY_CLIP = (
    ", or choose -o split.rule=clip_folds, which divides by clip: speakers are then in training and test, and the "
    "score says nothing about new ones"
)


@dataclass(frozen=True)
class Fold:
    """Train, dev and test part, as indices into a corpus's utterances."""

    name: str
    train: tuple[int, ...]
    dev: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """The folds of a corpus.

    rule: one sentence on how they were made, for the record.
    notes: sentences that a reader of the score should know.
    """

    folds: tuple[Fold, ...]
    rule: str
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> tuple[int, ...]:
        """Indices of the utterances in any fold's train part, sorted."""
        return tuple(sorted({index for fold in self.folds for index in fold.train}))

    @property
    def used(self) -> tuple[int, ...]:
        """Indices of the utterances in any part of any fold, sorted."""
        return tuple(sorted({index for fold in self.folds for index in (*fold.train, *fold.dev, *fold.test)}))


def speaker_folds(utterances: Sequence[Utterance], folds: int | None = SUPERB_FOLDS, fewest: int = 1) -> Split:
    """Folds whose parts share no speaker and no published group of speakers.

    folds: how many; None for one per published group, or five if there are none.
    fewest: speakers that each group of dealt speakers has at least.

    The groups are the published ones (the sessions of IEMOCAP) if every utterance has one. Otherwise the speakers,
    in the order of gender and id, are dealt in turn into `folds` groups, which balances the genders. In fold k, group
    k is test, group k + 1 (after the last comes the first) is dev, and the others are train. The indices of each part
    are in the order of utterance ids, whatever the order of `utterances`.

    Raises UserError for fewer than three groups, more folds than speakers, another number of folds than of published
    groups, and utterances without a speaker and without a group.
    """
    groups, dealt = make_groups(utterances, folds, fewest)
    made = cyclic_folds(utterances, groups)
    for fold in made:
        check_disjoint(fold, utterances, fix=f"Correct the columns speaker and group{BY_CLIP}.")
    disjoint = "speaker-disjoint " if all(u.speaker for u in utterances) else ""
    rule = (
        f"{len(groups)} {disjoint}folds over {dealt}: fold k tests group k, develops on group k + 1 "
        "(cyclically) and trains on the rest."
    )
    return Split(tuple(made), rule)


def cyclic_folds(utterances: Sequence[Utterance], groups: Sequence[Sequence[int]]) -> list[Fold]:
    """Folds of which the k-th tests group k, develops on the next one and trains on the others."""
    made = []
    for k, tested in enumerate(groups):
        dev = groups[(k + 1) % len(groups)]
        train = [i for group in groups if group is not tested and group is not dev for i in group]
        made.append(Fold(f"fold{k + 1}", *(by_id(utterances, part) for part in (train, dev, tested))))
    return made


def make_groups(utterances: Sequence[Utterance], folds: int | None, fewest: int = 1) -> tuple[list[list[int]], str]:
    """The groups that folds are made of, as lists of indices, and their description."""
    if utterances and all(u.group is not None for u in utterances):
        return published_groups(utterances, folds)
    return dealt_groups(utterances, SUPERB_FOLDS if folds is None else folds, fewest)


def published_groups(utterances: Sequence[Utterance], folds: int | None) -> tuple[list[list[int]], str]:
    """One group of indices per published group, in the order of their names.

    Raises UserError for another number of folds, and for too few groups.
    """
    names = sorted({str(u.group) for u in utterances})
    if folds not in (None, len(names)):
        raise UserError(
            f"The corpus here has {counted(len(names), 'published group')} ({', '.join(names)}) and {folds} folds "
            f"were asked for; ask for {len(names)}, or complete the corpus."
        )
    check_fold_count(len(names), "published groups", len(names))
    groups = gather([names.index(str(u.group)) for u in utterances], len(names))
    return groups, f"the published groups {', '.join(names)}"


def dealt_groups(utterances: Sequence[Utterance], folds: int, fewest: int = 1) -> tuple[list[list[int]], str]:
    """The speakers, in the order of gender and id, dealt in turn into `folds` groups of indices.

    Speakers who are heard in one recording are dealt together.
    """
    require_speakers(utterances)
    gender = {u.speaker: u.gender or "" for u in sorted(utterances, key=lambda u: u.id)}
    speakers = sorted(gender, key=lambda speaker: (gender[speaker], speaker))
    heard: dict[str, set[str]] = {speaker: set() for speaker in speakers}
    for utterance in utterances:
        heard[utterance.speaker].add(utterance.audio.recording.name)
    together = sorted(tied(list(heard.values())))
    kind = "speakers" if len(together) == len(speakers) else "speaker groups"
    check_fold_count(folds, kind, len(together), fewest)
    dealt = {speakers[i]: turn % folds for turn, several in enumerate(together) for i in several}
    kind += "" if len(together) == len(speakers) else " (those heard in one recording together)"
    words = f"{len(together)} {kind} dealt in turn, in the order of gender and id, into {folds} groups"
    return gather([dealt[u.speaker] for u in utterances], folds), words


def gather(places: Sequence[int], groups: int) -> list[list[int]]:
    """Lists of the indices whose place is 0, 1, ... groups - 1."""
    return [[i for i, place in enumerate(places) if place == group] for group in range(groups)]


def check_fold_count(folds: int, kind: str, available: int, fewest: int = 1) -> None:
    """Raise UserError for fewer than three folds, and for more than there are speakers, clips or groups.

    available: how many there are; fewest: how many of them a fold tests at least.
    """
    most = available // fewest
    if FEWEST_FOLDS <= folds <= most:
        return
    fix = f"Choose -o split.folds={most if folds > most else FEWEST_FOLDS}, or use more of the corpus."
    if most < FEWEST_FOLDS:
        fix = f"Use more of the corpus{BY_CLIP if kind.startswith('speaker') and fewest == 1 else ''}."
    each = f"at least as many {kind}" if fewest == 1 else f"{fewest} {kind} or more in each"
    raise UserError(
        f"{folds} folds over {counted(available, kind[:-1], kind)} cannot be made: it "
        f"takes {FEWEST_FOLDS} folds or more (for test, dev and train) and {each}. {fix}"
    )


def ties_of(utterance: Utterance, by_speaker: bool) -> Iterator[tuple[str, str]]:
    """What an utterance shares with those that stay in its part: recording, group and, if wanted, known speaker."""
    yield "recording", utterance.audio.recording.name
    if utterance.group is not None:
        yield "group", utterance.group
    if by_speaker and utterance.speaker:
        yield "speaker", utterance.speaker


def check_disjoint(
    fold: Fold, utterances: Sequence[Utterance], kinds: Sequence[str] = DISJOINT, fix: str | None = None
) -> None:
    """Raise UserError if a speaker, a published group or a recording is in more than one part of `fold`.

    Background noise is exempt: windows of one recording may be in several parts. Utterances of nobody known are
    compared by recording and group alone.
    fix: a sentence on what to do; None for a published split.
    """
    spoken = [[utterances[i] for i in part if utterances[i].speech] for part in (fold.train, fold.dev, fold.test)]
    members: dict[str, list[set[str | None]]] = {
        "speakers": [{u.speaker or None for u in part} - {None} for part in spoken],
        "groups": [{u.group for u in part} - {None} for part in spoken],
        "recordings": [{u.audio.recording.name for u in part} for part in spoken],
    }
    for kind in kinds:
        train, dev, test = members[kind]
        crossing = sorted(str(name) for name in (train & dev) | (train & test) | (dev & test))
        if crossing:
            which = counted(len(crossing), f"{kind[:-1]} is", f"{kind} are")
            raise UserError(
                f"{which} in more than one part of {fold.name} ({', '.join(crossing[:3])}"
                f"{', ...' if len(crossing) > 3 else ''}), so a score would not tell about new {kind}. "
                f"{fix or fix_of(kind)}"
            )


def fix_of(kind: str) -> str:
    """What to do about a published split whose parts share speakers, groups or recordings."""
    if kind == "speakers":
        return (
            "Fix the split, choose folds over speakers with -o split.rule=speaker_folds, or, for a corpus whose "
            "published parts share speakers, -o split.shared_speakers=true."
        )
    return "Fix the split, or choose folds that keep them together with -o split.rule=speaker_folds."


def require_speakers(utterances: Iterable[Utterance]) -> None:
    """Raise UserError if an utterance names no speaker."""
    nameless = [u.id for u in utterances if u.speech and not u.speaker]
    if nameless:
        raise UserError(
            f"{counted(len(nameless), 'utterance names', 'utterances name')} no speaker, {nameless[0]} first, and "
            "speakers must not be on two sides of a split. Fill in the column speaker, or choose "
            "-o split.rule=speaker_folds, which divides what nobody is known of by clip."
        )


def by_id(utterances: Sequence[Utterance], indices: Iterable[int]) -> tuple[int, ...]:
    """Indices in the order of the utterances' ids."""
    return tuple(sorted(indices, key=lambda i: utterances[i].id))
