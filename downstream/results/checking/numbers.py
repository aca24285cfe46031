"""Numbers that a record holds twice: means of its heads, counts of its parts, the score of the leaderboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import isclose
from statistics import fmean

from downstream.results.head_file import head_name
from downstream.results.record import FoldRecord, HeadRecord, LayerScores, Result, SplitRecord

# Two ways of computing the same number in float64 differ by less: processors add in different orders.
TOLERANCE = 1e-9
# Shares of layers are computed in float32, and so is their sum.
SHARES_TOLERANCE = 1e-5


def alike(one: float | None, other: float | None, tolerance: float = TOLERANCE) -> bool:
    """Return True for numbers that are equal but for rounding, relative to the larger one or absolute."""
    if one is None or other is None:
        return one is other
    return isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)


def name_of(head: HeadRecord) -> str:
    """Return a head's name in files."""
    return head_name(head.fold, head.seed, head.setting)


def setting_in_words(layer: int | str | None) -> str:
    """Return a layer setting in words."""
    return "the weighted sum" if layer is None else f"layer {layer}"


def contradictions_of_numbers(record: Result) -> Iterator[str]:
    """Yield a clause for each number of a record that does not follow from its others."""
    yield from of_heads(record)
    for layer in record.layers:
        yield from of_layer(layer, [head for head in record.heads if head.setting == layer.layer])
    for fold in record.folds:
        yield from of_fold(fold, [head for head in record.primary_heads() if head.fold == fold.name])
    yield from of_primary(record)
    yield from of_layer_weights(record)
    yield from of_parts(record)


def of_heads(record: Result) -> Iterator[str]:
    """Yield clauses on heads that are lacking, doubled, or of unknown folds; each seed of a setting has every fold."""
    names = [fold.name for fold in record.folds]
    if len(set(names)) < len(names):
        yield "two folds have the same name"
    counted = Counter(map(name_of, record.heads))
    yield from (f"the head {name} is listed {count} times" for name, count in counted.items() if count > 1)
    listed = {layer.layer for layer in record.layers}
    for setting in dict.fromkeys([layer.layer for layer in record.layers] + [head.setting for head in record.heads]):
        own = [head for head in record.heads if head.setting == setting]
        if setting not in listed:
            yield f"there are heads on {setting_in_words(setting)}, and no scores of it"
        expected = {head_name(*key, setting) for key in product(names, {head.seed for head in own})}
        if not own:
            yield f"there are scores of {setting_in_words(setting)}, and no heads that have them"
        for name in sorted(expected ^ set(map(name_of, own))):
            yield f"the head {name} is {'lacking' if name in expected else 'of a fold that is not listed'}"
    seeds = list(dict.fromkeys(head.seed for head in record.primary_heads()))
    if record.seeds.get("head") != seeds:
        yield f"it names the seeds {written(record.seeds.get('head', ()))}, and its heads have others"


def of_layer(layer: LayerScores, heads: Sequence[HeadRecord]) -> Iterator[str]:
    """Yield clauses on scores that are not the means of the heads' metrics over folds and seeds."""
    where = setting_in_words(layer.layer)
    for score in layer.scores:
        values = {seed: values_of(heads, score.part, score.metric, seed) for seed in {head.seed for head in heads}}
        if not all(values.values()):
            yield f"a head on {where} has no {score.metric} on the part {score.part}"
            continue
        expected = fmean(value for own in values.values() for value in own)
        if not alike(score.value, expected):
            yield (
                f"its {score.metric} on {where} and the part {score.part} is {score.value:.9g}, and the mean of its "
                f"heads is {expected:.9g}"
            )
        if score.by_seed.keys() != values.keys():
            yield f"its {score.metric} on {where} is listed for the seeds {written(score.by_seed)}, not those of heads"
        for seed in score.by_seed.keys() & values.keys():
            if not alike(score.by_seed[seed], fmean(values[seed])):
                yield f"its {score.metric} on {where} with seed {seed} is not the mean of that seed's heads"


def values_of(heads: Sequence[HeadRecord], part: str, metric: str, seed: int) -> list[float]:
    """Return a metric of the heads of a seed; nothing where one of them lacks it."""
    own = [head.metrics.get(part, {}).get(metric) for head in heads if head.seed == seed]
    known = [value for value in own if value is not None]
    return known if len(known) == len(own) else []


def of_fold(fold: FoldRecord, heads: Sequence[HeadRecord]) -> Iterator[str]:
    """Yield clauses on metrics of a fold that are not the means of its heads."""
    for part, metrics in fold.metrics.items():
        for metric, value in metrics.items():
            own = [head.metrics.get(part, {}).get(metric) for head in heads]
            known = [one for one in own if one is not None]
            if not known or len(known) < len(own) or not alike(value, fmean(known)):
                yield f"the {metric} of {fold.name} on the part {part} is not the mean of its heads"


def of_primary(record: Result) -> Iterator[str]:
    """Yield clauses where the leaderboard's score, its interval or its chance level are not those of the details."""
    primary = record.primary
    score = record.layers[0].score(primary.name, primary.part)
    if (primary.low, primary.high, primary.interval) != (score.low, score.high, score.interval):
        yield "the interval of its primary score is not that of its first layer setting"
    if primary.higher_is_better != record.metric_types[primary.name].higher_is_better:
        yield "its primary metric is better when higher in one place, and when lower in another"
    for layer in record.layers:
        for one in layer.scores:
            if one.low is not None and one.high is not None and one.low > one.high:
                yield f"the interval of {one.metric} on {setting_in_words(layer.layer)} ends below its beginning"
    if not alike(record.chance, fmean(fold.chance for fold in record.folds)):
        yield "its chance level is not the mean of its folds"
    if not alike(record.chance, score.chance):
        yield "its chance level is not that of its primary score"


def of_layer_weights(record: Result) -> Iterator[str]:
    """Yield clauses on shares of layers that are not one for each layer, do not sum to one, or are not the mean."""
    for head in record.heads:
        if len(head.layer_weights) != record.upstream.layers:
            yield f"the head {name_of(head)} has {len(head.layer_weights)} layer weights for {record.upstream.layers}"
        elif not alike(sum(head.layer_weights), 1.0, SHARES_TOLERANCE) or min(head.layer_weights) < 0:
            yield f"the layer weights of the head {name_of(head)} are no shares of one"
        elif head.layer is not None and head.layer_weights[head.layer : head.layer + 1] != [1.0]:
            yield f"the head {name_of(head)} reads layer {head.layer} alone, and its layer weights say otherwise"
        if head.layer is not None and not 0 <= head.layer < record.upstream.layers:
            yield f"the head {name_of(head)} reads layer {head.layer}, which the upstream does not have"
    own = [head.layer_weights for head in record.primary_heads()]
    means = [fmean(weights) for weights in zip(*own, strict=False)]
    if len(means) != len(record.layer_weights) or not all(map(alike, means, record.layer_weights)):
        yield "its layer weights are not the mean of its heads'"


def of_parts(record: Result) -> Iterator[str]:
    """Yield clauses on test sets that are not the sum of their parts, or hold more than the corpus has."""
    for fold in record.folds:
        if fold.parts:  # records of schema 3 do not have them all
            pieces = list(fold.parts.values())
            if sum(piece.utterances for piece in pieces) != fold.test.utterances:
                yield f"the test parts of {fold.name} do not add up to its {fold.test.utterances} test utterances"
            if summed(piece.labels for piece in pieces) != nonzero(fold.test.labels):
                yield f"the classes of the test parts of {fold.name} do not add up to those of its test set"
        for title, split in (("training", fold.train), ("development", fold.dev), ("test", fold.test)):
            if split.utterances > record.corpus.used.utterances and record.recipe.resolved.get("protocol") != "superb":
                yield f"the {title} part of {fold.name} has more utterances than it uses of the corpus"
            yield from of_split(f"the {title} part of {fold.name}", split)
    yield from of_split("what it uses of the corpus", record.corpus.used)


def of_split(title: str, split: SplitRecord) -> Iterator[str]:
    """Yield clauses on a part whose classes do not add up to its utterances."""
    if split.labels and sum(split.labels.values()) != split.utterances:
        yield f"{title} has {split.utterances} utterances, and its classes {sum(split.labels.values())}"


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return counts summed by name, without zeros."""
    total: Counter[str] = Counter()
    for own in counts:
        total.update(own)
    return nonzero(total)


def nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def written(values: Iterable[object]) -> str:
    """Return values in a list with commas, "none" where there are none."""
    return ", ".join(map(str, values)) or "none"
