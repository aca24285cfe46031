"""Divisions that are drawn with a seed: of clips of nobody known, and of a corpus that has no parts of its own."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downstream.data.splits import (
    BY_CLIP,
    FEWEST_FOLDS,
    PARTS,
    Fold,
    Split,
    by_id,
    check_fold_count,
    cyclic_folds,
    ties_of,
)
from downstream.data.ties import tied
from upstream.errors import UserError
from upstream.text import counted

if TYPE_CHECKING:
    from downstream.data.corpus import Utterance

SHARE = 10  # one unit in so many is for development, and one for the test


@dataclass(frozen=True)
class Clips:
    """Utterances that are to be divided, and what ties them together.

    utterances: of speech. classes: of each; empty where nothing is classified. audio: digest of the audio of each.
    keep_speakers: clips of one known speaker stay together.

    Whatever else: the same audio stays together, and so do cuts of one recording and utterances of one group.
    """

    utterances: Sequence[Utterance]
    classes: Sequence[str]
    audio: Sequence[str]
    keep_speakers: bool

    def among(self, indices: Sequence[int]) -> Clips:
        """Some of the utterances."""
        return Clips(
            [self.utterances[i] for i in indices],
            [self.classes[i] for i in indices] if self.classes else (),
            [self.audio[i] for i in indices],
            self.keep_speakers,
        )

    @property
    def noun(self) -> str:
        """What a unit is, "speakers" or "clips"."""
        return "speakers" if self.keep_speakers and all(u.speaker for u in self.utterances) else "clips"

    @property
    def together(self) -> str:
        """What stays together, in words."""
        speaker = " or known speaker" if self.keep_speakers else ""
        return f"clips of one recording, group{speaker}, and the same audio twice, stay together"

    def strata(self, seed: int) -> dict[str, list[list[int]]]:
        """Units, lists of indices that stay together, by their class and in an order drawn with the seed.

        The order follows from seed and ids alone: files may be found in any order, and further ones change little.
        Units of several classes are a stratum of their own, "".
        """
        found = defaultdict(list)
        for unit in self.units():
            own = {self.classes[i] for i in unit} if self.classes else {""}
            found[own.pop() if len(own) == 1 else ""].append(unit)

        def place(unit: Sequence[int]) -> str:
            first = min(self.utterances[i].id for i in unit)
            return hashlib.sha256(f"{seed} {first}".encode()).hexdigest()

        return {name: sorted(found[name], key=place) for name in sorted(found)}

    def units(self) -> list[list[int]]:
        """Lists of the indices that stay together."""
        return tied(
            [
                [("audio", digest), *ties_of(utterance, self.keep_speakers)]
                for utterance, digest in zip(self.utterances, self.audio, strict=True)
            ]
        )


def clip_folds(clips: Clips, folds: int, seed: int) -> Split:
    """Folds over clips: those of each class, in an order drawn with the seed, are dealt in turn into `folds` groups.

    Fold k tests group k, develops on group k + 1 and trains on the rest, as `splits.speaker_folds` does.
    Raises UserError for fewer than three folds, and for more folds than units.
    """
    units = [unit for stratum in clips.strata(seed).values() for unit in stratum]
    check_fold_count(folds, clips.noun, len(units))
    groups = [[index for unit in units[k::folds] for index in unit] for k in range(folds)]
    by_class = " class by class" if clips.classes else ""
    dealt = f"{len(units)} {clips.noun} dealt in turn{by_class} into {folds} groups, in an order drawn with seed {seed}"
    rule = (
        f"{folds} folds over {dealt} ({clips.together}): fold k tests group k, develops on group k + 1 (cyclically) "
        "and trains on the rest."
    )
    return Split(tuple(cyclic_folds(clips.utterances, groups)), rule)


def drawn_parts(clips: Clips, seed: int, fewest: int = 1) -> dict[str, list[int]]:
    """Train, dev and test parts: a tenth of the units of each class is dev, another test.

    fewest: units of a class that dev and test have at least, where it has three times as many.
    Raises UserError for too few units to fill three parts.
    """
    strata = clips.strata(seed)
    count = sum(map(len, strata.values()))
    if count < FEWEST_FOLDS * fewest:
        others = f" of others{BY_CLIP if fewest == 1 else ''}" if clips.noun == "speakers" else ""
        raise UserError(
            f"Training, development and test take {FEWEST_FOLDS * fewest} {clips.noun} or more, and there "
            f"{'is' if count == 1 else 'are'} {counted(count, clips.noun[:-1])} ({clips.together}). Add "
            f"recordings{others}."
        )
    parts: dict[str, list[int]] = {name: [] for name in PARTS}
    for units in enough(strata):
        share = min(len(units) // FEWEST_FOLDS, max(fewest, round(len(units) / SHARE)))
        shares = {"test": units[:share], "dev": units[share : 2 * share], "train": units[2 * share :]}
        for name, own in shares.items():
            parts[name] += [index for unit in own for index in unit]
    return parts


def enough(strata: dict[str, list[list[int]]]) -> list[list[list[int]]]:
    """The strata that can fill three parts, and the units of the others as one stratum more."""
    few = [unit for units in strata.values() if len(units) < FEWEST_FOLDS for unit in units]
    return [units for units in strata.values() if len(units) >= FEWEST_FOLDS] + [few]


def drawn_split(clips: Clips, seed: int, fewest: int = 1) -> Split:
    """The single fold of a corpus that has no parts of its own, by `drawn_parts`.

    Background noise among the utterances is divided as its windows say.
    """
    spoken = [index for index, utterance in enumerate(clips.utterances) if utterance.speech]
    said = clips.among(spoken)
    parts = {name: [spoken[i] for i in own] for name, own in drawn_parts(said, seed, fewest).items()}
    for index, utterance in enumerate(clips.utterances):
        if not utterance.speech and utterance.split is not None:
            parts[utterance.split].append(index)
    rule = (
        f"The corpus has no parts of its own: a tenth of its {said.noun}{' of each class' if said.classes else ''} "
        f"({fewest} or more) is for development, a tenth is the test and the rest trains, drawn with seed {seed} "
        f"({said.together})."
    )
    return Split((Fold("drawn", *(by_id(clips.utterances, parts[name]) for name in PARTS)),), rule)
