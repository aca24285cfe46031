"""SUPERB's ways of dividing corpora for keyword spotting and speaker verification, as s3prl carries them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from downstream.corpora.silence import window
from downstream.corpora.speech_commands import TEST_ARCHIVE, superb_part
from downstream.corpora.splits import Fold, Split, by_id, check_disjoint, part_names, require_speakers
from downstream.corpora.table import Utterance
from downstream.sampling import class_weights, draw_balanced
from upstream.base import SAMPLE_RATE
from upstream.errors import MendableError

DRAW_SEED = 0  # of the development draw; s3prl's own depends on everything that was drawn before


def superb_ks(
    utterances: tuple[Utterance, ...], targets: Sequence[int], seconds: float
) -> tuple[tuple[Utterance, ...], Split]:
    """Keyword spotting: a hash of the speaker divides train from dev, the separate archive is the test set.

    As many development items as there are, are drawn with replacement, each class equally likely; the recordings of
    noise are on both lists. Where one is drawn, a window of `seconds` is cut at random.

    targets: class of each utterance. Returns the utterances with those windows behind them, and the split. Training
    keeps the whole recordings, of which `training.crop` cuts windows.
    Raises MendableError where the test archive or either part is missing.
    """
    noise = [i for i, u in enumerate(utterances) if not u.speech and u.part != TEST_ARCHIVE]
    tested = [i for i, u in enumerate(utterances) if u.part == TEST_ARCHIVE]
    parts = {name: [i for i, u in enumerate(utterances) if hashed(u) == name] for name in ("train", "dev")}
    if not tested:
        raise MendableError(
            "SUPERB tests keyword spotting on a separate archive, speech_commands_test_set_v0.01, which was not found; "
            "put it beside the folder speech_commands_v0.01 and name the folder that holds both with --data, or "
            "choose -d keyword, which tests on the corpus's own testing_list.txt."
        )
    for name in ("train", "dev"):
        if not parts[name] or not noise:
            raise MendableError(
                f"SUPERB's rule leaves nothing to {'train on' if name == 'train' else 'develop on'}: it takes the "
                "words' recordings and the folder _background_noise_. Use the whole corpus, or choose -d keyword."
            )
    dev, windows = drawn_development(utterances, targets, parts["dev"] + noise, seconds)
    train = by_id(utterances, parts["train"]) + tuple(noise)
    fold = Fold("superb", train, tuple(dev), by_id(utterances, tested))
    check_disjoint(Fold(fold.name, tuple(parts["train"]), tuple(parts["dev"]), ()), utterances)
    rule = (
        "SUPERB's: a hash of the speaker divides train from dev and discards a tenth, the separate test archive is the "
        f"test set; {len(dev)} development items were drawn with replacement, each class equally likely (seed "
        f"{DRAW_SEED}); all recordings of noise train and develop."
    )
    return utterances + tuple(windows), Split((fold,), rule)


def hashed(utterance: Utterance) -> str | None:
    """The part of a word's recording by SUPERB's hash; None for noise and for the test archive."""
    if not utterance.speech or utterance.part == TEST_ARCHIVE:
        return None
    return superb_part(utterance.speaker)


def drawn_development(
    utterances: Sequence[Utterance], targets: Sequence[int], listed: Sequence[int], seconds: float
) -> tuple[list[int], list[Utterance]]:
    """The indices that are drawn to develop on, and the windows of noise among them, which have indices behind all."""
    generator = torch.Generator().manual_seed(DRAW_SEED)
    drawn = draw_balanced(class_weights([targets[i] for i in listed]), generator).tolist()
    seconds_of = {i: utterances[i].audio.seconds() for i in listed if not utterances[i].speech}
    windows: list[Utterance] = []
    indices: list[int] = []
    known: dict[str, int] = {}
    for position in drawn:
        own = utterances[listed[position]]
        if own.speech:
            indices.append(listed[position])
            continue
        spare = round((seconds_of[listed[position]] - seconds) * SAMPLE_RATE)
        start = int(torch.randint(max(0, spare) + 1, (1,), generator=generator)) / SAMPLE_RATE
        cut = window(own, start, seconds)
        if cut.id not in known:
            known[cut.id] = len(utterances) + len(windows)
            windows.append(cut)
        indices.append(known[cut.id])
    return indices, windows


def superb_asv(utterances: Sequence[Utterance], parts: Mapping[str, Sequence[str]]) -> Split:
    """Speaker verification: no development part; the test trials choose the step.

    Raises MendableError where a part is missing, and where speakers are on two sides.
    """
    found = part_names(utterances, parts)
    for name in ("train", "test"):
        if not found[name]:
            raise MendableError(
                f"The corpus has no {name} part, which SUPERB's speaker verification needs; complete the corpus, or "
                "choose -d sv."
            )
    require_speakers(utterances)
    train, test = by_id(utterances, found["train"]), by_id(utterances, found["test"])
    check_disjoint(Fold("superb", train, (), test), utterances)
    rule = (
        "SUPERB's: the corpus's own training part without any development part; the step is chosen on the test trials, "
        "so the score is optimistic."
    )
    return Split((Fold("superb", train, test, test),), rule)
