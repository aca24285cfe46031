"""Folds of a corpus (train, dev and test utterances), each made by a rule that one sentence states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upstream.errors import UserError
from upstream.text import counted

if TYPE_CHECKING:
    from downstream.data.corpus import Utterance

FEWEST_FOLDS = 3  # one group for test, one for dev, one or more for train
SUPERB_FOLDS = 5
DISJOINT = ("speakers", "groups", "recordings")  # each may be in one part of a fold only
HOLD_OUT_STEP = 10  # every tenth training speaker (or utterance) becomes dev if a corpus publishes no dev part

NO_SILENCE = " -o corpus.silence=null"  # noise has no speakers to make folds of


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


def speaker_folds(utterances: Sequence[Utterance], folds: int | None = SUPERB_FOLDS) -> Split:
    """Folds whose parts share no speaker and no published group of speakers.

    folds: how many; None for one per published group, or five if there are none.

    The groups are the published ones (the sessions of IEMOCAP) if every utterance has one. Otherwise the speakers,
    in the order of gender and id, are dealt in turn into `folds` groups, which balances the genders. In fold k, group
    k is test, group k + 1 (after the last comes the first) is dev, and the others are train. The indices of each part
    are in the order of utterance ids, whatever the order of `utterances`.

    Raises UserError for fewer than three groups, more folds than speakers, another number of folds than of published
    groups, and utterances without a speaker.
    """
    require_speakers(utterances)
    groups, dealt = make_groups(utterances, folds)
    made = []
    for k, tested in enumerate(groups):
        dev = groups[(k + 1) % len(groups)]
        train = by_id(utterances, [i for group in groups if group is not tested and group is not dev for i in group])
        fold = Fold(f"fold{k + 1}", train, by_id(utterances, dev), by_id(utterances, tested))
        check_disjoint(fold, utterances)
        made.append(fold)
    rule = (
        f"{len(groups)} speaker-disjoint folds over {dealt}: fold k tests group k, develops on group k + 1 "
        "(cyclically) and trains on the rest."
    )
    return Split(tuple(made), rule)


def published_split(
    utterances: Sequence[Utterance], wanted: Mapping[str, Sequence[str]] | None = None, shared_speakers: bool = False
) -> Split:
    """The single fold of a corpus that publishes train, dev and test parts.

    wanted: the corpus's parts to use for each of train, dev and test, if it names several.
    shared_speakers: accept speakers who are in several parts, as some corpora have them; a note then states it.

    If there is no dev part, every tenth training speaker in sorted order, from the first on, becomes dev; with
    `shared_speakers` every tenth training utterance. Utterances in no part are left out, and counted in the notes.

    Raises UserError for a missing part, speakers in two parts, and utterances without a speaker.
    """
    parts = part_names(utterances, wanted or {})
    for name in ("train", "test"):
        if not any(utterances[i].speech for i in parts[name]):
            there = sorted({str(u.part or u.split) for u in utterances if (u.part or u.split) and u.speech})
            raise UserError(
                f"The corpus publishes no {name} part{' but noise' if parts[name] else ''} (found of speech: "
                f"{', '.join(there) or 'no parts'}); complete it and its lists, or the column split of its "
                "manifest.csv with train, dev and test, or choose folds over its speakers with "
                f"-o split.rule=speaker_folds{NO_SILENCE if any(not u.speech for u in utterances) else ''}."
            )
    if not shared_speakers:
        require_speakers([utterances[i] for indices in parts.values() for i in indices])
    rule = "The corpus's own train, dev and test parts."
    if not any(utterances[i].speech for i in parts["dev"]):
        parts["train"], held = hold_out(utterances, parts["train"], shared_speakers)
        parts["dev"] = held + parts["dev"]
        what = "utterances" if shared_speakers else "speakers"
        rule = (
            f"The corpus's own train and test parts; every tenth of the training {what} in sorted order, "
            "from the first on, are dev."
        )
    fold = Fold("published", *(by_id(utterances, parts[name]) for name in ("train", "dev", "test")))
    check_disjoint(fold, utterances, ("groups", "recordings") if shared_speakers else DISJOINT)
    left = len(utterances) - sum(len(indices) for indices in parts.values())
    which = counted(left, "utterance belongs", "utterances belong")
    notes = [f"{which} to no part of the corpus's split and {'was' if left == 1 else 'were'} left out."] if left else []
    named = {part for names in (wanted or {}).values() for part in names}
    if named and not named & {utterance.part for utterance in utterances}:
        notes.append(f"The recipe names parts of another corpus ({', '.join(sorted(named))}); here all parts are used.")
    if shared_speakers:
        notes.append("Speakers may be in several parts: the score says nothing about speakers who are new.")
    return Split((fold,), rule, tuple(notes))


def part_names(utterances: Sequence[Utterance], wanted: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Indices of the train, dev and test utterances, only from the `wanted` parts of the corpus if any are named.

    If the corpus knows none of the names, they belong to another corpus and are ignored.
    Raises UserError if the corpus has some of the wanted parts and lacks others.
    """
    named = {part for parts in wanted.values() for part in parts}
    if not named & {utterance.part for utterance in utterances}:
        wanted = {}
    parts: dict[str, list[int]] = {}
    for name in ("train", "dev", "test"):
        in_split = [i for i, utterance in enumerate(utterances) if utterance.split == name]
        asked = wanted.get(name, ())
        parts[name] = [i for i in in_split if not asked or utterances[i].part is None or utterances[i].part in asked]
        there = sorted({str(utterances[i].part) for i in in_split} - {"None"})
        absent = [part for part in asked if part not in there]
        if absent:
            # Without any, training and test have nothing, and training speakers can become dev.
            choice = f", or choose -o split.{name}=[{', '.join(there)}]" if there or name == "dev" else ""
            raise UserError(
                f"The recipe's split.{name} is {', '.join(asked)}, and the corpus here has "
                f"{', '.join(there) or 'none'} (missing: {', '.join(absent)}); complete the corpus{choice}."
            )
    return parts


def make_groups(utterances: Sequence[Utterance], folds: int | None) -> tuple[list[list[int]], str]:
    """The groups that folds are made of, as lists of indices, and their description."""
    if utterances and all(u.group is not None for u in utterances):
        return published_groups(utterances, folds)
    return dealt_groups(utterances, SUPERB_FOLDS if folds is None else folds)


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


def dealt_groups(utterances: Sequence[Utterance], folds: int) -> tuple[list[list[int]], str]:
    """The speakers, in the order of gender and id, dealt in turn into `folds` groups of indices."""
    require_speakers(utterances)
    gender = {u.speaker: u.gender or "" for u in sorted(utterances, key=lambda u: u.id)}
    speakers = sorted(gender, key=lambda speaker: (gender[speaker], speaker))
    check_fold_count(folds, "speakers", len(speakers))
    dealt = {speaker: turn % folds for turn, speaker in enumerate(speakers)}
    words = f"{len(speakers)} speakers dealt in turn, in the order of gender and id, into {folds} groups"
    return gather([dealt[u.speaker] for u in utterances], folds), words


def gather(places: Sequence[int], groups: int) -> list[list[int]]:
    """Lists of the indices whose place is 0, 1, ... groups - 1."""
    return [[i for i, place in enumerate(places) if place == group] for group in range(groups)]


def check_fold_count(folds: int, kind: str, available: int) -> None:
    """Raise UserError for more folds than `available` speakers or groups, or fewer than three."""
    if folds < FEWEST_FOLDS or available < folds:
        raise UserError(
            f"{folds} folds over {counted(available, kind[:-1], kind)} cannot be made: it takes {FEWEST_FOLDS} folds "
            "or more (for test, dev and train) and at least as many speakers. Use more of the corpus, or another "
            "number of folds."
        )


def hold_out(
    utterances: Sequence[Utterance], train: Sequence[int], by_utterance: bool = False
) -> tuple[list[int], list[int]]:
    """Train and dev indices: every tenth training speaker, or every tenth utterance, becomes dev.

    Raises UserError where only one speaker trains.
    """
    if by_utterance:
        ordered = by_id(utterances, (i for i in train if utterances[i].speech))
        chosen = set(ordered[::HOLD_OUT_STEP])
        return [i for i in train if i not in chosen], [i for i in train if i in chosen]
    speakers = sorted({utterances[i].speaker for i in train if utterances[i].speech})
    if len(speakers) < 2:
        raise UserError(
            f"The train part has one speaker, {speakers[0]}, and there is no dev part: no speaker can be held out as "
            "dev. Mark some utterances of another speaker as dev."
        )
    held = set(speakers[::HOLD_OUT_STEP])
    return [i for i in train if utterances[i].speaker not in held], [i for i in train if utterances[i].speaker in held]


def check_disjoint(fold: Fold, utterances: Sequence[Utterance], kinds: Sequence[str] = DISJOINT) -> None:
    """Raise UserError if a speaker, a published group or a recording is in more than one part of `fold`.

    Background noise is exempt: windows of one recording may be in several parts.
    """
    spoken = [[utterances[i] for i in part if utterances[i].speech] for part in (fold.train, fold.dev, fold.test)]
    members: dict[str, list[set[str | None]]] = {
        "speakers": [{u.speaker for u in part} for part in spoken],
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
                "Fix the split, choose folds over speakers with -o split.rule=speaker_folds, or, for a corpus whose "
                "published parts share speakers, -o split.shared_speakers=true."
            )


def require_speakers(utterances: Iterable[Utterance]) -> None:
    """Raise UserError if an utterance names no speaker."""
    nameless = [u.id for u in utterances if u.speech and not u.speaker]
    if nameless:
        raise UserError(
            f"{counted(len(nameless), 'utterance names', 'utterances name')} no speaker, {nameless[0]} first, and "
            "speakers must not be on two sides of a split. Fill in the column speaker, or leave the utterances out."
        )


def by_id(utterances: Sequence[Utterance], indices: Iterable[int]) -> tuple[int, ...]:
    """Indices in the order of the utterances' ids."""
    return tuple(sorted(indices, key=lambda i: utterances[i].id))
