"""How often paired tests find a difference where there is none, and where there is one.

Two systems with the same true score are simulated on test sets of real sizes, and compared as `wavprobe compare` does;
p should be below 0.05 in 5 % of cases. Beside it: McNemar's exact test, which takes utterances of one speaker for
independent, sign flips of the speakers' parts of the difference, and the percentile bootstrap over speakers. Power is
that for a true difference of --effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from rich.console import Console

from downstream.comparison.difference import HeadOfFold, difference_of
from downstream.comparison.exact_tests import mcnemar
from downstream.statistics import FloatArray, jackknives

from . import common
from .simulated_systems import Setting, drawn_speakers, sign_flips, systems

LEVELS = {"accuracy": (0.6, 0.9, 0.98), "macro_f1": (0.6,), "wer": (0.2,), "eer": (0.1,)}
SPREADS = {"accuracy": (0.0, 0.05), "macro_f1": (0.0, 0.05), "wer": (0.0, 0.05), "eer": (0.0, 0.03)}
TESTS = ("t", "McNemar", "sign flips", "bootstrap")
SMALL = {"simulations": 20, "speakers": [4], "metrics": ["accuracy", "eer"]}


def settings_of(speakers: int, metrics: Sequence[str]) -> Iterator[Setting]:
    """The settings of one number of speakers."""
    for metric in metrics:
        for level, unequal, spread in product(LEVELS[metric], (False, True), SPREADS[metric]):
            yield Setting(metric, level, speakers, unequal, min(spread, 1.2 * (1 - level)))
        if metric != "eer":
            for seeds in ((3, 3), (3, 1), (5, 2)):
                yield Setting(metric, LEVELS[metric][0], speakers, True, SPREADS[metric][1], seeds, 0.02)


def p_values(
    one: Sequence[HeadOfFold],
    other: Sequence[HeadOfFold],
    setting: Setting,
    others: bool,
    generator: np.random.Generator,
) -> FloatArray:
    """The p of every test, NaN for those that do not apply or are not asked for."""
    found = [difference_of(one, other, setting.metric).p, np.nan, np.nan, np.nan]
    if one[0].items.answers is not None and setting.seeds == (1, 1):
        found[1] = mcnemar(one, other).p
    if others:
        sides = [jackknives(heads, [setting.metric])[setting.metric] for heads in (one, other)]
        without = sides[0].without - sides[1].without
        parts = without.mean() - without + (sides[0].whole.mean() - sides[1].whole.mean()) / len(without)
        found[2] = sign_flips(parts, generator)
        if setting.metric != "eer":
            found[3] = drawn_speakers(one, other, setting, generator)
    return np.array(found)


def rejected(setting: Setting, simulations: int, others: bool, seed: int = 0) -> FloatArray:
    """Share of simulations in which each test finds p < 0.05."""
    generator = np.random.default_rng(seed)
    found = [p_values(*systems(setting, generator), setting, others, generator) for _ in range(simulations)]
    values = np.stack(found)
    return np.where(np.isnan(values).all(axis=0), np.nan, (values < 0.05).mean(axis=0))


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--simulations", type=int, default=2000, help="of each setting")
    made.add_argument("--speakers", type=int, nargs="*", default=[4, 5, 10, 24, 40, 200], help="of a test set")
    made.add_argument("--metrics", nargs="*", default=list(LEVELS), choices=list(LEVELS))
    made.add_argument("--effect", type=float, default=0.05, help="a true difference, whose power is shown")
    made.add_argument("--others", action="store_true", help="sign flips and the bootstrap as well, which take longer")
    options = common.parse(made, SMALL)
    console = Console(width=200)
    print("| metric | true score | speakers | utterances | spread | seeds | " + " | ".join(TESTS) + " | power |")
    print("|---|---|---|---|---|---|" + "---|" * (len(TESTS) + 1))
    for speakers in options.speakers:
        for setting in settings_of(speakers, options.metrics):
            null = rejected(setting, options.simulations, options.others)
            effect = replace(setting, effect=min(options.effect, (1 - setting.level) / 2))
            power = rejected(effect, max(20, options.simulations // 10), False)[0]
            sizes = setting.sizes
            cells = [
                setting.metric,
                f"{100 * setting.level:g} %",
                str(speakers),
                str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}",
                f"{100 * setting.spread:g}",
                " and ".join(map(str, setting.seeds)),
                *("-" if np.isnan(share) else f"{100 * share:.1f} %" for share in null),
                f"{100 * power:.0f} %",
            ]
            console.print("| " + " | ".join(cells) + " |", soft_wrap=True)


if __name__ == "__main__":
    common.carry_out(main)
