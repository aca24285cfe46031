"""Two systems tested on the same items, by simulation.

Both find the same speakers and the same items hard, which a paired test profits from. Each has good and bad speakers of
its own (`Setting.spread`), which is why utterances of one speaker are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from downstream.comparison.difference import HeadOfFold
from downstream.statistics import CountedItems, FloatArray, Items
from downstream.tasks.classification.items import ClassifiedItems
from downstream.tasks.verification.items import NONTARGET, TARGET, TrialItems

COMMON_SPREAD = 0.05  # standard deviation over speakers of what both systems have in common
OF_ITEMS, OF_SYSTEM = 0.5, 0.3  # shares of the variance that are an item's for both systems, and for all seeds of one
CLASSES = ("a", "b", "c", "d")
WORDS = 12  # of an utterance, half as many to half as many again


@dataclass(frozen=True)
class Setting:
    """A test set and two systems.

    metric: accuracy, macro_f1, wer or eer. level: the true score. spread: standard deviation of a system's own score
    over speakers. between_seeds: of a seed's, the same for all speakers. effect: by how much the first system's score
    is higher.
    """

    metric: str = "accuracy"
    level: float = 0.6
    speakers: int = 10
    unequal: bool = False
    spread: float = 0.0
    seeds: tuple[int, int] = (1, 1)
    between_seeds: float = 0.0
    effect: float = 0.0

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Utterances of each speaker, (G,): 60, or 20 of many speakers; unequal ones from a half to three halves.

        There is a target trial for every sixth of them, and one of others for every third.
        """
        mean = 60 if self.speakers < 100 else 20
        spread = (0.5, 1.5) if self.unequal else (1.0, 1.0)
        return np.round(mean * np.linspace(*spread, self.speakers)).astype(np.int64)

    @cached_property
    def speaker(self) -> NDArray[np.int64]:
        """The speaker of each utterance, (N,)."""
        return np.repeat(np.arange(self.speakers), self.sizes)

    @cached_property
    def named(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Ids and clusters of the utterances."""
        return tuple(map(str, range(len(self.speaker)))), tuple((f"speaker{one}",) for one in self.speaker)


def systems(setting: Setting, generator: np.random.Generator) -> tuple[list[HeadOfFold], list[HeadOfFold]]:
    """Return the heads of both systems, one for each seed."""
    shared = shared_by_systems(setting, generator)
    one, other = (
        [
            HeadOfFold(seed, items, "fold1")
            for seed, items in enumerate(seeds_of(setting, shared, sign * setting.effect / 2, number, generator))
        ]
        for sign, number in zip((1, -1), setting.seeds, strict=True)
    )
    return one, other


@dataclass(frozen=True, eq=False)
class Shared:
    """What both systems meet: how hard each speaker and each item is, and the items' truths; of trials, their sides."""

    of_speakers: FloatArray
    of_items: FloatArray
    truths: NDArray[Any]
    sides: NDArray[np.int64] | None = None


def shared_by_systems(setting: Setting, generator: np.random.Generator) -> Shared:
    of_speakers = COMMON_SPREAD * generator.standard_normal(setting.speakers)
    if setting.metric == "eer":
        own = np.repeat(np.arange(setting.speakers), setting.sizes // 6)
        one = np.repeat(np.arange(setting.speakers), setting.sizes // 3)
        other = (one + generator.integers(1, setting.speakers, len(one))) % setting.speakers
        sides = np.stack([np.concatenate([own, one]), np.concatenate([own, other])])
        truths = np.where(sides[0] == sides[1], TARGET, NONTARGET)
        return Shared(of_speakers, generator.standard_normal(len(truths)), truths, sides)
    items = len(setting.speaker)
    if setting.metric == "wer":
        truths = generator.integers(WORDS // 2, 3 * WORDS // 2 + 1, items)
    else:
        truths = generator.choice(CLASSES, items)
    return Shared(of_speakers, generator.standard_normal(items), truths)


def seeds_of(
    setting: Setting, shared: Shared, effect: float, seeds: int, generator: np.random.Generator
) -> list[Items]:
    """Return what each seed of a system answers; effect: by how much its score is higher."""
    own_of_speakers = shared.of_speakers + setting.spread * generator.standard_normal(setting.speakers)
    of_system = generator.standard_normal(len(shared.of_items))
    found = []
    for _ in range(seeds):
        level = setting.level + effect + setting.between_seeds * generator.standard_normal()
        own = generator.standard_normal(len(shared.of_items))
        luck = np.sqrt([OF_ITEMS, OF_SYSTEM, 1 - OF_ITEMS - OF_SYSTEM]) @ np.stack([shared.of_items, of_system, own])
        found.append(ANSWERED[setting.metric](setting, shared, level + own_of_speakers, luck, generator))
    return found


# ---------------------------------------------------------------- metrics


def classified(
    setting: Setting, shared: Shared, rates: FloatArray, luck: FloatArray, generator: np.random.Generator
) -> Items:
    """Return classes that are right at each speaker's rate, (G,), and else any other; luck: (N,) standard normal."""
    right = luck < ndtri(np.clip(rates, 0.001, 0.999))[setting.speaker]
    wrong = (np.searchsorted(CLASSES, shared.truths) + generator.integers(1, len(CLASSES), len(right))) % len(CLASSES)
    answers = np.where(right, shared.truths, np.array(CLASSES)[wrong])
    ids, clusters = setting.named
    return ClassifiedItems(ids, tuple(shared.truths.tolist()), tuple(answers.tolist()), clusters, CLASSES)


def recognised(
    setting: Setting, shared: Shared, rates: FloatArray, luck: FloatArray, generator: np.random.Generator
) -> Items:
    """Return errors in utterances of so many words (the truths), at each speaker's rate times how hard each is."""
    expected = shared.truths * np.clip(rates, 0.001, 0.999)[setting.speaker] * np.exp(0.5 * luck - 0.125)
    counts = np.stack([generator.poisson(expected), shared.truths], axis=1)
    ids, clusters = setting.named
    return CountedItems(ids, ids, None, clusters, counts, {"wer": lambda summed: float(summed[0] / summed[1])})


def verified(
    setting: Setting, shared: Shared, rates: FloatArray, luck: FloatArray, generator: np.random.Generator
) -> Items:
    """Return trials whose scores have each speaker's equal error rate, but for others' in trials of two."""
    assert shared.sides is not None
    apart = -ndtri(np.clip(rates, 0.001, 0.999))  # from the threshold 0 to the mean score, in deviations
    one, other = shared.sides
    scores = luck + np.where(one == other, apart[one], -(apart[one] + apart[other]) / 2)
    names = [f"speaker{number}" for number in range(setting.speakers)]
    return TrialItems(
        ids=tuple(map(str, range(len(scores)))),
        truths=tuple(shared.truths.tolist()),
        answers=None,
        clusters=tuple((names[a], names[b]) for a, b in zip(one.tolist(), other.tolist(), strict=True)),
        scores=scores,
    )


Answered = Callable[[Setting, Shared, FloatArray, FloatArray, np.random.Generator], Items]
ANSWERED: dict[str, Answered] = {
    "accuracy": classified,
    "macro_f1": classified,
    "wer": recognised,
    "eer": verified,
}


def sign_flips(pseudo: FloatArray, generator: np.random.Generator, draws: int = 2000) -> float:
    """Return the two-sided p of a sign-flip test over speakers; pseudo: (G,) each one's part of the difference."""
    signs = generator.choice([-1.0, 1.0], size=(draws, len(pseudo)))
    return float((1 + (abs(signs @ pseudo) >= abs(pseudo.sum()) - 1e-12).sum()) / (1 + draws))


def drawn_speakers(
    one: Sequence[HeadOfFold], other: Sequence[HeadOfFold], setting: Setting, generator: np.random.Generator
) -> float:
    """Return the two-sided p of the percentile bootstrap over speakers, 500 draws."""
    times = generator.multinomial(setting.speakers, np.full(setting.speakers, 1 / setting.speakers), size=500)
    differences = []
    for drawn in times.astype(np.float64):
        weights = drawn[setting.speaker]
        values = [np.mean([h.items.value(setting.metric, weights) for h in heads]) for heads in (one, other)]
        differences.append(values[0] - values[1])
    below = float(np.mean(np.array(differences) <= 0))
    return 2 * min(below, 1 - below)
