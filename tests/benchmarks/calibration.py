"""How often 95 % intervals hold what they should, by simulated test sets of the sizes of real ones.

Every row draws test sets, computes the interval of each as a run does (`score_intervals`), and counts how often it
holds the mean score of all of them. Speakers differ as their deviation says (a beta distribution); equal speakers have
as many utterances each, and those of unequal ones are lognormal with a deviation of 1: of ten, one has a third.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from downstream.statistics import NOBODY, CountedItems, SeedItems, score_intervals
from downstream.tasks.classification.metrics import METRICS as CLASSIFICATION
from downstream.tasks.recognition.metrics import METRICS as RECOGNITION
from downstream.tasks.verification.items import NONTARGET, TARGET, TrialItems
from downstream.tasks.verification.metrics import METRICS as VERIFICATION

from . import common

METRICS = {**CLASSIFICATION, **RECOGNITION, **VERIFICATION}
Heads = list[SeedItems]
Draw = Callable[[np.random.Generator], Heads]
Numbers = NDArray[np.int64]
HEADINGS = ("test set", "metric", "mean", "held, %", "mean width")
SMALL = {"draws": 20}


@dataclass(frozen=True)
class Kind:
    """Test sets of one kind, and the metrics whose intervals are computed."""

    name: str
    draw: Draw
    metrics: tuple[str, ...] = ("accuracy",)


# ---------------------------------------------------------------- one test set


def speakers_sizes(generator: np.random.Generator, speakers: int, each: int, unequal: bool) -> Numbers:
    """Return the utterances of each speaker, (G,)."""
    if not unequal:
        return np.full(speakers, each)
    return np.maximum(1, np.round(each * np.exp(generator.normal(-0.5, 1.0, speakers)))).astype(np.int64)


def own_rates(generator: np.random.Generator, mean: float, deviation: float, size: int) -> NDArray[np.float64]:
    """Return the true rate of each speaker, (G,)."""
    if deviation == 0.0:
        return np.full(size, mean)
    count = mean * (1.0 - mean) / deviation**2 - 1.0
    return generator.beta(mean * count, (1.0 - mean) * count, size)


def counted_items(counts: Numbers, clusters: Sequence[str], metrics: Sequence[str]) -> CountedItems:
    """Return utterances with counts (N, …)."""
    return CountedItems(
        ids=tuple(map(str, range(len(counts)))),
        truths=("",) * len(counts),
        answers=None,
        clusters=tuple((cluster,) for cluster in clusters),
        counts=counts,
        of_counts={metric: own for metric in metrics if (own := METRICS[metric].of_counts) is not None},
    )


def classified(
    generator: np.random.Generator,
    speakers: int,
    each: int,
    mean: float,
    deviation: float = 0.0,
    *,
    unequal: bool = False,
    classes: int = 2,
    known: bool = True,
    seeds: int = 1,
    seeds_deviation: float = 0.0,
    folds: int = 1,
) -> Heads:
    """Draw utterances of classes that are as frequent, and a wrong answer at random.

    known: False where each utterance is of nobody known. Of the seeds' errors, 70 % of the variance is shared.
    """
    sizes = speakers_sizes(generator, speakers, each, unequal)
    names = np.repeat(np.arange(speakers), sizes)
    rates = own_rates(generator, mean, deviation, speakers)[names]
    truth = generator.integers(classes, size=len(names))
    shared = generator.normal(size=len(names))
    heads = []
    for seed in range(seeds):
        ease = np.sqrt(0.7) * shared + np.sqrt(0.3) * generator.normal(size=len(names)) if seeds > 1 else shared
        shift = generator.normal(0.0, seeds_deviation)
        right = normal_share(ease) < rates + shift
        answers = np.where(right, truth, (truth + generator.integers(1, classes, len(names))) % classes)
        counts = np.zeros((len(names), classes, classes), dtype=np.int64)
        counts[np.arange(len(names)), truth, answers] = 1
        clusters = [str(name) for name in names] if known else [f"{NOBODY}{number}" for number in range(len(names))]
        for fold in range(folds):
            own = names % folds == fold
            metrics = tuple(CLASSIFICATION)
            chosen = [cluster for cluster, is_own in zip(clusters, own, strict=True) if is_own]
            heads.append(SeedItems(seed, counted_items(counts[own], chosen, metrics)))
    return heads


def normal_share(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal distribution function."""
    from scipy.special import ndtr

    shares: NDArray[np.float64] = ndtr(values)
    return shares


def recognised(
    generator: np.random.Generator, speakers: int, each: int, mean: float, deviation: float, *, unequal: bool = False
) -> Heads:
    """Draw word errors of utterances of 3 to 20 words, whose rates vary by speaker (gamma)."""
    sizes = speakers_sizes(generator, speakers, each, unequal)
    names = np.repeat(np.arange(speakers), sizes)
    shape = (mean / deviation) ** 2
    rates = generator.gamma(shape, mean / shape, speakers)[names]
    words = generator.integers(3, 21, len(names))
    errors = generator.poisson(rates * words * generator.gamma(2.0, 0.5, len(names)))
    counts = np.stack([errors, words, errors, words], axis=1)
    return [SeedItems(0, counted_items(counts, list(map(str, names)), ("wer",)))]


def verified(generator: np.random.Generator, speakers: int, each: int, *, unequal: bool = False) -> Heads:
    """Draw trials, 1,500 of one speaker and of two at most.

    An embedding is the speaker's vector and noise, so that the equal error rate is about 4 %.
    """
    dim, noise, most = 64, 1.2, 1500
    sizes = np.maximum(2, speakers_sizes(generator, speakers, each, unequal))
    names = np.repeat(np.arange(speakers), sizes)
    vectors = generator.normal(size=(speakers, dim))[names] + noise * generator.normal(size=(len(names), dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(len(names), 1)
    own = names[first] == names[second]
    pairs = np.concatenate([drawn(generator, np.flatnonzero(own), most), drawn(generator, np.flatnonzero(~own), most)])
    first, second, own = first[pairs], second[pairs], own[pairs]
    items = TrialItems(
        ids=tuple(f"{one} {other}" for one, other in zip(first.tolist(), second.tolist(), strict=True)),
        truths=tuple(np.where(own, TARGET, NONTARGET).tolist()),
        answers=None,
        clusters=tuple(zip(names[first].astype(str).tolist(), names[second].astype(str).tolist(), strict=True)),
        scores=(vectors[first] * vectors[second]).sum(axis=1),
    )
    return [SeedItems(0, items)]


def drawn(generator: np.random.Generator, numbers: Numbers, most: int) -> Numbers:
    return numbers if len(numbers) <= most else generator.choice(numbers, most, replace=False)


# ---------------------------------------------------------------- kinds of test sets


def kinds() -> Iterator[Kind]:
    """Yield the kinds of test sets."""
    for speakers, unequal in product((4, 5, 10, 24, 40), (False, True)):
        for mean, deviation in ((0.6, 0.0), (0.6, 0.1), (0.6, 0.2), (0.9, 0.05), (0.98, 0.02), (0.98, 0.05)):
            draw = partial(classified, speakers=speakers, each=60, mean=mean, deviation=deviation, unequal=unequal)
            yield Kind(f"{whose(speakers, unequal)}, {mean} ± {deviation}", draw)
    for speakers, each in ((200, 10), (1251, 3)):
        draw = partial(classified, speakers=speakers, each=each, mean=0.9, deviation=0.05, unequal=True)
        yield Kind(f"{whose(speakers, True)}, 0.9 ± 0.05", draw)
    for number, mean in product((50, 500), (0.6, 0.98)):
        draw = partial(classified, speakers=number, each=1, mean=mean, known=False)
        yield Kind(f"{number} utterances of nobody known, {mean}", draw)
    for folds, speakers in ((5, 10), (4, 24), (24, 24)):
        draw = partial(classified, speakers=speakers, each=30, mean=0.6, deviation=0.1, folds=folds, unequal=True)
        yield Kind(f"{folds} folds of {whose(speakers, True)}, 0.6 ± 0.1", draw)
    for speakers, classes in ((5, 4), (10, 4), (24, 8)):
        draw = partial(classified, speakers=speakers, each=60, mean=0.6, deviation=0.1, classes=classes, unequal=True)
        name = f"{whose(speakers, True)}, {classes} classes, 0.6 ± 0.1"
        yield Kind(name, draw, ("unweighted_accuracy", "macro_f1"))
    for seeds, spread in product((2, 3, 5), (0.0, 0.02, 0.08)):
        draw = partial(classified, speakers=24, each=20, mean=0.6, deviation=0.1, seeds=seeds, seeds_deviation=spread)
        yield Kind(f"{whose(24, False)}, 0.6 ± 0.1, {seeds} seeds ± {spread}", draw)
    for seeds in (2, 3, 5):  # which differ more than speakers do
        draw = partial(classified, speakers=24, each=20, mean=0.6, deviation=0.02, seeds=seeds, seeds_deviation=0.05)
        yield Kind(f"{whose(24, False)}, 0.6 ± 0.02, {seeds} seeds ± 0.05", draw)
    for speakers, mean, unequal in product((4, 10, 40), (0.05, 0.3), (False, True)):
        draw = partial(recognised, speakers=speakers, each=20, mean=mean, deviation=0.4 * mean, unequal=unequal)
        yield Kind(f"{whose(speakers, unequal)}, {mean} ± {0.4 * mean:g}", draw, ("wer",))
    for speakers, each, unequal in ((5, 12, False), (10, 10, False), (10, 10, True), (24, 8, False), (40, 8, True)):
        draw = partial(verified, speakers=speakers, each=each, unequal=unequal)
        yield Kind(f"trials of {whose(speakers, unequal)}", draw, tuple(VERIFICATION))


def whose(speakers: int, unequal: bool) -> str:
    return f"{speakers} {'unequal' if unequal else 'equal'} speakers"


def measured(kind: Kind, draws: int) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for each metric."""
    generator = np.random.default_rng(0)
    ranges = {metric: METRICS[metric].range for metric in kind.metrics}
    values: dict[str, list[float]] = {metric: [] for metric in kind.metrics}
    ends: dict[str, list[tuple[float, float]]] = {metric: [] for metric in kind.metrics}
    for _ in range(draws):
        heads = kind.draw(generator)
        own = {metric: float(np.mean([head.items.value(metric) for head in heads])) for metric in kind.metrics}
        for metric, found in score_intervals(heads, own, ranges).items():
            assert found.low is not None
            assert found.high is not None
            values[metric].append(own[metric])
            ends[metric].append((found.low, found.high))
    for metric, scores in values.items():
        mean, (low, high) = float(np.mean(scores)), np.array(ends[metric]).T
        held = 100 * float(np.mean((low <= mean) & (mean <= high)))
        yield kind.name, METRICS[metric].title, f"{mean:.3f}", f"{held:.1f}", f"{float(np.mean(high - low)):.3f}"


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--draws", type=int, default=2000, help="test sets of each kind")
    made.add_argument("--only", default="", help="the kinds with this in their name, all by default")
    options = common.parse(made, SMALL)
    print(f"| {' | '.join(HEADINGS)} |\n|---|---|---:|---:|---:|")
    for kind in kinds():
        if options.only in kind.name:
            for row in measured(kind, options.draws):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    common.carry_out(main)
