"""The split that a corpus publishes: its own train, dev and test parts, of which it may lack the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from downstream.data.splits import DISJOINT, PARTS, Fold, Split, by_id, check_disjoint, ties_of
from downstream.data.ties import tied
from upstream.errors import UserError
from upstream.text import counted

if TYPE_CHECKING:
    from downstream.data.corpus import Utterance

HOLD_OUT_STEP = 10  # every tenth training speaker (or utterance) becomes dev if a corpus publishes no dev part
NO_SILENCE = " -o corpus.silence=null"  # noise has no speakers to make folds of


def published_split(
    utterances: Sequence[Utterance],
    wanted: Mapping[str, Sequence[str]] | None = None,
    shared_speakers: bool = False,
    fewest: int = 1,
) -> Split:
    """The single fold of a corpus that publishes train, dev and test parts.

    wanted: the corpus's parts to use for each of train, dev and test, if it names several.
    shared_speakers: accept speakers who are in several parts, as some corpora have them.
    fewest: speakers that become dev at least, if any do.

    If there is no dev part, every tenth training speaker in sorted order, from the first on, becomes dev (of few
    speakers, one in as many as gives `fewest`); with `shared_speakers`, or training utterances of nobody known, every
    tenth training utterance. Utterances in no part are left out, and counted in the notes.

    Raises UserError for a missing part, and for speakers in two parts.
    """
    parts = part_names(utterances, wanted or {})
    for name in ("train", "test"):
        if not any(utterances[i].speech for i in parts[name]):
            there = sorted({str(u.part or u.split) for u in utterances if (u.part or u.split) and u.speech})
            raise UserError(
                f"The corpus publishes no {name} part{' but noise' if parts[name] else ''} (found of speech: "
                f"{', '.join(there) or 'no parts'}); complete it and its lists, or the column split of its "
                "manifest.csv with train, dev and test, or choose folds with "
                f"-o split.rule=speaker_folds{NO_SILENCE if any(not u.speech for u in utterances) else ''}."
            )
    rule = "The corpus's own train, dev and test parts."
    if not any(utterances[i].speech for i in parts["dev"]):
        nameless = any(utterances[i].speech and not utterances[i].speaker for i in parts["train"])
        if shared_speakers or nameless:
            parts["train"], held = hold_out_utterances(utterances, parts["train"], shared_speakers)
            which = "every tenth of the training utterances"
        else:
            parts["train"], held, step = hold_out_speakers(utterances, parts["train"], fewest)
            which = f"{'every tenth' if step == HOLD_OUT_STEP else f'one in {step}'} of the training speakers"
        parts["dev"] = held + parts["dev"]
        rule = f"The corpus's own train and test parts; {which} in sorted order, from the first on, are dev."
    fold = Fold("published", *(by_id(utterances, parts[name]) for name in PARTS))
    check_disjoint(fold, utterances, ("groups", "recordings") if shared_speakers else DISJOINT)
    left = len(utterances) - sum(len(indices) for indices in parts.values())
    which = counted(left, "utterance belongs", "utterances belong")
    notes = [f"{which} to no part of the corpus's split and {'was' if left == 1 else 'were'} left out."] if left else []
    named = {part for names in (wanted or {}).values() for part in names}
    if named and not named & {utterance.part for utterance in utterances}:
        notes.append(f"The recipe names parts of another corpus ({', '.join(sorted(named))}); here all parts are used.")
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
    for name in PARTS:
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


def hold_out_utterances(
    utterances: Sequence[Utterance], train: Sequence[int], shared_speakers: bool
) -> tuple[list[int], list[int]]:
    """Train and dev indices: every tenth utterance becomes dev.

    Utterances of one recording or group, and of one known speaker unless these are shared, count as one.
    Raises UserError where none can be held out.
    """
    ordered = by_id(utterances, (i for i in train if utterances[i].speech))
    units = sorted(tied([list(ties_of(utterances[i], not shared_speakers)) for i in ordered]))
    if len(units) < 2:
        raise UserError(
            "All training utterances are of one speaker, group or recording, and there is no dev part: none can be "
            "held out as dev. Mark some utterances of another one as dev."
        )
    held = {ordered[place] for unit in units[::HOLD_OUT_STEP] for place in unit}
    return [i for i in train if i not in held], [i for i in train if i in held]


def hold_out_speakers(
    utterances: Sequence[Utterance], train: Sequence[int], fewest: int = 1
) -> tuple[list[int], list[int], int]:
    """Train and dev indices, and the step: every tenth training speaker becomes dev, of few more of them.

    fewest: speakers that become dev, and go on training, at least. Raises UserError where there are too few.
    """
    speakers = sorted({utterances[i].speaker for i in train if utterances[i].speech})
    if len(speakers) < 2 * fewest:
        who = f"one speaker, {speakers[0]}," if len(speakers) == 1 else f"{len(speakers)} speakers,"
        held, fix = "no speaker", "hold out every tenth utterance with -o split.shared_speakers=true"
        if fewest > 1:
            held, fix = f"no {fewest}", "choose folds over all speakers with -o split.rule=speaker_folds"
        raise UserError(
            f"The train part has {who} and there is no dev part: {held} can be held out as dev. Mark some utterances "
            f"of {'another speaker' if fewest == 1 else f'{fewest} other speakers'} as dev, or {fix}."
        )
    step = HOLD_OUT_STEP if len(speakers) > HOLD_OUT_STEP * (fewest - 1) else len(speakers) // fewest
    chosen = set(speakers[::step])
    kept, dev = ([i for i in train if (utterances[i].speaker in chosen) is out] for out in (False, True))
    return kept, dev, step
