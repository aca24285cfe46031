"""SUPERB's splits for keyword spotting and speaker verification, as in s3prl.

That of emotion recognition is in `superb_emotion_split`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch

from downstream.data.corpora.speech_commands import TEST_ARCHIVE
from downstream.data.corpus import Utterance
from downstream.data.noise import noise_window
from downstream.data.published_split import part_names
from downstream.data.sampling import class_weights, draw_balanced
from downstream.data.splits import Fold, Split, by_id, check_disjoint, require_speakers
from upstream.base import SAMPLE_RATE
from upstream.errors import UserError

DRAW_SEED = 0  # of the dev draw; in s3prl it depends on everything drawn before

# The rule by which Speech Commands was divided (its README), as SUPERB applies it (s3prl, downstream/speech_commands).
HASH_VALUES = 2**27
DEV_PERCENT, DISCARDED_PERCENT = 10, 20


def superb_ks(
    utterances: tuple[Utterance, ...], targets: Sequence[int], seconds: float
) -> tuple[tuple[Utterance, ...], Split]:
    """Keyword spotting: a hash of the speaker divides train from dev; the separate archive is the test set.

    From the dev utterances and the noise recordings, as many items as there are of both are drawn with replacement,
    each class equally likely. A drawn noise recording becomes a random window of `seconds`. Train has the whole noise
    recordings; `training.crop` cuts windows from them.

    targets: class of each utterance. Returns the utterances, followed by those windows, and the split.
    Raises UserError if the test archive or either part is missing.
    """
    noise = [i for i, u in enumerate(utterances) if not u.speech and u.part != TEST_ARCHIVE]
    tested = [i for i, u in enumerate(utterances) if u.part == TEST_ARCHIVE]
    parts = {name: [i for i, u in enumerate(utterances) if hashed_part(u) == name] for name in ("train", "dev")}
    if not any(utterances[i].speech for i in tested):
        raise UserError(
            "SUPERB tests keyword spotting on a separate archive, speech_commands_test_set_v0.01, of which no word was "
            "found; put it beside the folder speech_commands_v0.01 and name the folder that holds both with --data, or "
            "choose -d keyword, which tests on the corpus's own testing_list.txt."
        )
    for name in ("train", "dev"):
        if not parts[name] or not noise:
            raise UserError(
                f"SUPERB's rule leaves nothing to {'train on' if name == 'train' else 'develop on'}: it takes the "
                "words' recordings and the folder _background_noise_. Use the whole corpus, or choose -d keyword."
            )
    dev, windows = draw_development(utterances, targets, parts["dev"] + noise, seconds)
    train = by_id(utterances, parts["train"]) + tuple(noise)
    fold = Fold("superb", train, tuple(dev), by_id(utterances, tested))
    check_disjoint(Fold(fold.name, tuple(parts["train"]), tuple(parts["dev"]), ()), utterances)
    rule = (
        "SUPERB's: a hash of the speaker divides train from dev and discards a tenth, the separate test archive is the "
        f"test set; {len(dev)} development items were drawn with replacement, each class equally likely (seed "
        f"{DRAW_SEED}); all noise recordings are in train and dev."
    )
    return utterances + tuple(windows), Split((fold,), rule)


def hashed_part(utterance: Utterance) -> str | None:
    """The part of an utterance by SUPERB's hash; None for noise and for the test archive."""
    if not utterance.speech or utterance.part == TEST_ARCHIVE:
        return None
    return superb_part(utterance.speaker)


def superb_part(speaker: str) -> str:
    """The part that a speaker's clips of the main Speech Commands archive are in, by the SHA-1 of the speaker's id.

    "train", "dev" or "discarded": the corpus's own test part, in place of which SUPERB takes the test archive.
    """
    percent = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % HASH_VALUES * 100 / (HASH_VALUES - 1)
    if percent < DEV_PERCENT:
        return "dev"
    return "discarded" if percent < DISCARDED_PERCENT else "train"


def draw_development(
    utterances: Sequence[Utterance], targets: Sequence[int], listed: Sequence[int], seconds: float
) -> tuple[list[int], list[Utterance]]:
    """The drawn dev indices, and the noise windows among them; their indices follow those of `utterances`."""
    generator = torch.Generator().manual_seed(DRAW_SEED)
    drawn = draw_balanced(class_weights([targets[i] for i in listed]), generator).tolist()
    seconds_of = {i: utterances[i].audio.seconds() for i in listed if not utterances[i].speech}
    windows: list[Utterance] = []
    indices: list[int] = []
    known: dict[str, int] = {}
    for position in drawn:
        drawn_utterance = utterances[listed[position]]
        if drawn_utterance.speech:
            indices.append(listed[position])
            continue
        spare = round((seconds_of[listed[position]] - seconds) * SAMPLE_RATE)
        start = int(torch.randint(max(0, spare) + 1, (1,), generator=generator)) / SAMPLE_RATE
        cut = noise_window(drawn_utterance, start, seconds)
        if cut.id not in known:
            known[cut.id] = len(utterances) + len(windows)
            windows.append(cut)
        indices.append(known[cut.id])
    return indices, windows


def superb_asv(utterances: Sequence[Utterance], parts: Mapping[str, Sequence[str]]) -> Split:
    """Speaker verification: there is no dev part; the test trials choose the step.

    Raises UserError for a missing part, and for speakers in two parts.
    """
    found = part_names(utterances, parts)
    for name in ("train", "test"):
        if not found[name]:
            raise UserError(
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
