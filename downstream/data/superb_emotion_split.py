"""SUPERB's split for emotion recognition, as in s3prl, and the published session lists that it is drawn over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from downstream.data.corpus import Utterance
from downstream.data.splits import SUPERB_FOLDS, Fold, Split, check_disjoint, make_groups
from upstream.errors import UserError
from upstream.json_file import read_json_object
from upstream.text import counted

TRAIN_SHARE = 0.8  # s3prl, downstream/emotion: train_ratio of int(N * ratio)
DRAW_SEED = 0  # s3prl calls torch.manual_seed(0) right before the draw

LISTS_VARIABLE = "WAVPROBE_IEMOCAP_LISTS"
LISTS_SHA256 = "4769d2e270df8efe"  # first digits; of the newline-joined ids of the five session lists in order
LISTS_SOURCE = "s3prl/downstream/emotion/meta_data of github.com/s3prl/s3prl (or the hub's s3prl/iemocap_split)"


def superb_er(utterances: Sequence[Utterance], ids_in_published_order: Sequence[str] | None = None) -> Split:
    """The folds of SUPERB's emotion recognition: test sessions are disjoint, dev is drawn by utterance.

    ids_in_published_order: the ids of the five session lists, one list after the other (`superb_lists`); None sorts
        by id, which draws another dev part than the published one.

    Fold k tests session k. The others, in the order of the lists, are permuted at random: the first int(0.8 N) are
    train, the rest dev. Train and dev share speakers, as in SUPERB. Corpora without sessions get five groups of
    speakers, dealt as in `speaker_folds`.

    Raises UserError if utterances are missing from the lists, or there are not five groups.
    """
    refuse_other_groups(utterances)
    groups, dealt = make_groups(utterances, SUPERB_FOLDS)
    position = published_positions(utterances, ids_in_published_order)
    made = []
    for k, tested in enumerate(groups):
        others = sorted((i for group in groups if group is not tested for i in group), key=position.__getitem__)
        train, dev = superb_draw(len(others))
        fold = Fold(
            f"fold{k + 1}",
            tuple(others[i] for i in train),
            tuple(others[i] for i in dev),
            tuple(sorted(tested, key=position.__getitem__)),
        )
        check_disjoint(Fold(fold.name, fold.train + fold.dev, (), fold.test), utterances)
        made.append(fold)
    rule = (
        f"SUPERB's {len(groups)} folds over {dealt}: fold k tests group k; of the rest, int(0.8 N) drawn at random "
        f"by utterance (seed {DRAW_SEED}) are train and the rest dev, so that train and dev share speakers."
    )
    return Split(tuple(made), rule, order_notes(len(utterances), ids_in_published_order))


def superb_draw(count: int) -> tuple[list[int], list[int]]:
    """Train and dev positions, out of `count`, in SUPERB's emotion recognition.

    As s3prl draws them: torch.manual_seed(0), torch.randperm(count), the first int(0.8 count) are train. A separate
    generator gives the same numbers and leaves the global one alone.
    """
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(DRAW_SEED)).tolist()
    trained = int(TRAIN_SHARE * count)
    return order[:trained], order[trained:]


def published_positions(utterances: Sequence[Utterance], ids_in_order: Sequence[str] | None) -> list[int]:
    """Position of every utterance in the order that the random draw runs over.

    Raises UserError for an utterance that is in no list.
    """
    order = sorted(u.id for u in utterances) if ids_in_order is None else ids_in_order
    place = {name: position for position, name in enumerate(order)}
    strange = sorted(u.id for u in utterances if u.id not in place)
    if strange:
        raise UserError(
            f"{counted(len(strange), 'utterance is', 'utterances are')} not in SUPERB's session lists, {strange[0]} "
            f"first; the lists belong to IEMOCAP in four classes. Unset {LISTS_VARIABLE} for another corpus."
        )
    return [place[u.id] for u in utterances]


def order_notes(count: int, ids_in_order: Sequence[str] | None) -> tuple[str, ...]:
    """A sentence if the dev draw is not the published one."""
    if ids_in_order is None:
        return (
            "The random draw ran over utterances sorted by id, not over SUPERB's published session lists: train and "
            f"dev differ from the published ones. For IEMOCAP, set {LISTS_VARIABLE} to a copy of {LISTS_SOURCE}.",
        )
    if count < len(ids_in_order):
        are = "is" if count == 1 else "are"
        return (f"Only {count} of the {len(ids_in_order)} listed utterances {are} here: not the published draw.",)
    return ()


def refuse_other_groups(utterances: Sequence[Utterance]) -> None:
    """Raise UserError unless SUPERB's folds can be made: of as many published groups, or else of enough speakers."""
    names = sorted({str(u.group) for u in utterances})
    has_groups = all(u.group is not None for u in utterances)
    speakers = {u.speaker for u in utterances}
    if not has_groups and "" not in speakers and len(speakers) < SUPERB_FOLDS:
        raise UserError(
            f"SUPERB's emotion recognition tests each of {SUPERB_FOLDS} sessions, and the corpus here has none, and "
            f"{counted(len(speakers), 'speaker')}. Complete it, or choose -d emotion."
        )
    if len(names) != SUPERB_FOLDS and has_groups:
        raise UserError(
            f"SUPERB's emotion recognition tests each of {SUPERB_FOLDS} sessions, and the corpus here has "
            f"{len(names)} ({', '.join(names)}); complete it, or choose -o split.rule=speaker_folds, which takes the "
            "sessions that are there and is no longer SUPERB's."
        )


# ---------------------------------------------------------------- published session lists


def superb_lists(folder: Path | None = None) -> tuple[str, ...] | None:
    """The ids of IEMOCAP's utterances in the order of SUPERB's published session lists.

    folder: holds Session1/test_meta_data.json ... Session5/test_meta_data.json, as in s3prl; None for the folder that
        WAVPROBE_IEMOCAP_LISTS names. Returns None if that is not set either.

    Raises UserError for lists that are missing, damaged or not the published ones.
    """
    if folder is None:
        value = os.environ.get(LISTS_VARIABLE, "")
        if not value:
            return None
        folder = Path(value)
    paths = [folder / f"Session{k}/test_meta_data.json" for k in range(1, SUPERB_FOLDS + 1)]
    ids = [name for path in paths for name in read_session_list(path)]
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    if not digest.startswith(LISTS_SHA256):
        raise UserError(
            f"The session lists in {folder} are not those of SUPERB ({len(ids)} ids with SHA-256 {digest[:16]}..., "
            f"expected {LISTS_SHA256}...); fetch {LISTS_SOURCE} again."
        )
    return tuple(ids)


def read_session_list(path: Path) -> list[str]:
    """The utterance ids of one session list, in its order.

    Raises UserError for a list that is missing or damaged.
    """
    fix = f"Set {LISTS_VARIABLE} to a copy of {LISTS_SOURCE}."
    if not path.exists():
        raise UserError(f"Cannot read the session list {path}: it is not there. {fix}")
    content = read_json_object(path, fix)
    try:
        return [Path(row["path"]).stem for row in content["meta_data"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a session list of SUPERB; fetch {LISTS_SOURCE} again.") from error
