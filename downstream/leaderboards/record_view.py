"""A record in words, tables and drawings, as the page opens it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import yaml

from downstream.leaderboards.drawings import Drawing, bars, curve, whiskers
from downstream.leaderboards.gathering import Found
from downstream.report import describe_upstream, duration, layer_words, states_line, used_line
from downstream.results import FitRecord, MetricRecord, Result, Score
from upstream.text import counted


@dataclass(frozen=True)
class Table:
    """A table: caption, headings, and rows, whose first cell names the row."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class RecordView:
    """What the page shows of a record.

    facts: names with a sentence each. settings: the whole recipe as YAML.
    """

    place: str
    facts: tuple[tuple[str, str], ...]
    caveats: tuple[str, ...]
    notes: tuple[str, ...]
    command: str
    settings: str
    tables: tuple[Table, ...]
    drawings: tuple[tuple[str, Drawing], ...]


def view_of(run: Found) -> RecordView:
    """Return what the page shows of a record."""
    result = run.result
    return RecordView(
        run.place,
        tuple(facts(run)),
        tuple(result.caveats),
        (*result.upstream.notes, *result.corpus.notes, *(f"Not checked: {one}" for one in run.unchecked)),
        result.command,
        yaml.safe_dump(result.recipe.resolved, sort_keys=False, allow_unicode=True, width=100),
        tuple(tables(result)),
        tuple(drawings(result)),
    )


def facts(run: Found) -> Iterator[tuple[str, str]]:
    """Yield what was run, on what, and where it can be found."""
    result = run.result
    recipe, upstream, corpus, timing = result.recipe, result.upstream, result.corpus, result.timing
    changed = f"; changed: {', '.join(recipe.overrides)}" if recipe.overrides else ""
    yield "recipe", f"{recipe.name}, version {recipe.version}, {recipe.protocol} protocol: {result.title}{changed}"
    yield "upstream", describe_upstream(result)
    yield "fingerprint", f"{upstream.fingerprint} (of the states)"
    if upstream.file_sha256 is not None:
        yield "weights", f"{upstream.file_sha256} (SHA-256 of the file)"
    yield "corpus", f"{corpus.title}: {corpus.coverage}"
    yield "licence", corpus.licence
    revision = f" at {corpus.revision}" if corpus.revision else ""
    yield "source", f"{corpus.source}{revision}; digest {corpus.fingerprint}"
    yield "used", used_line(result)
    yield "split", corpus.split_rule
    yield "seeds", ", ".join(f"{name} {' '.join(map(str, seeds))}" for name, seeds in result.seeds.items() if seeds)
    yield "chance", f"{metric_of(result).written(result.chance)}{metric_of(result).unit}: {result.chance_means}"
    yield "states", states_line(result)
    yield (
        "time",
        f"reading {timing.reading:.1f} s, extraction {timing.extraction:.1f} s, training {timing.training:.1f} s, "
        f"evaluation {timing.evaluation:.1f} s; {duration(timing.audio_seconds)} of audio",
    )
    yield "versions", ", ".join(f"{name} {value}" for name, value in result.environment.items())
    yield "digest", f"{run.digest} (of the record)"


def metric_of(result: Result) -> MetricRecord:
    """Return the primary metric."""
    return result.metric_types[result.primary.name]


# ---------------------------------------------------------------- tables


def tables(result: Result) -> Iterator[Table]:
    """Yield the scores, the folds, the grid and the layers."""
    yield score_table(result)
    if len(result.folds) > 1:
        yield fold_table(result)
    if any(fit.lr is not None for fit in result.grid):
        yield grid_table(result)
    if len(result.layers) > 1:
        yield layer_table(result)


def score_table(result: Result) -> Table:
    """Return every score of the first layer setting."""
    rows = []
    for score in result.layers[0].scores:
        metric = result.metric_types[score.metric]
        chance = "" if score.chance is None else metric.written(score.chance)
        rows.append((metric.heading, score.part, metric.written(score.value), ends(score, result), chance))
    return Table("All scores", ("metric", "test part", "value", "95 % interval", "chance"), tuple(rows))


def fold_table(result: Result) -> Table:
    """Return the primary score of each fold."""
    metric, primary = metric_of(result), result.primary
    rows = tuple(
        (
            fold.name,
            metric.written(fold.metrics[primary.part][primary.name]),
            metric.written(fold.chance),
            f"{fold.test.utterances:,}",
        )
        for fold in result.folds
        if primary.name in fold.metrics.get(primary.part, {})
    )
    return Table("Folds", ("fold", metric.heading, "chance", "tested utterances"), rows)


def grid_table(result: Result) -> Table:
    """Return the development scores of each learning rate."""
    metric = result.metric_types[result.select]
    best = max if metric.higher_is_better else min
    rows = []
    for rate in sorted({fit.lr for fit in result.grid if fit.lr is not None}, reverse=True):
        own = [fit for fit in result.grid if fit.lr == rate]
        scores = [fit.development for fit in own if fit.development is not None]
        diverged = sum(fit.diverged is not None for fit in own)
        rows.append(
            (
                f"{rate:g}",
                metric.written(fmean(scores)) if scores else "",
                metric.written(best(scores)) if scores else "",
                f"{sum(fit.chosen for fit in own)} of {len(own)}",
                str(diverged),
            )
        )
    heading = f"development {metric.heading}"
    return Table("Grid of learning rates", ("rate", f"{heading}, mean", "best", "chosen", "diverged"), tuple(rows))


def layer_table(result: Result) -> Table:
    """Return the primary score on each layer setting."""
    metric, primary = metric_of(result), result.primary
    rows = []
    for layer in result.layers:
        score = layer.score(primary.name, primary.part)
        rows.append((layer_words(layer.layer), metric.written(score.value), ends(score, result)))
    return Table("Layers", ("layer", metric.heading, "95 % interval"), tuple(rows))


def ends(score: Score, result: Result) -> str:
    """Return both ends of an interval, or a dash."""
    metric = result.metric_types[score.metric]
    if score.low is None or score.high is None:
        return "–"
    return f"{metric.written(score.low)} to {metric.written(score.high)}"


# ---------------------------------------------------------------- drawings


def drawings(result: Result) -> Iterator[tuple[str, Drawing]]:
    """Yield the curve of development scores, the layer weights, and the scores by layer, with their headings."""
    if (learned := curve_of(result)) is not None:
        yield "Development score while learning", learned
    if result.layers[0].layer is None and len(result.layer_weights) > 1:
        weights = result.layer_weights
        yield "Layer weights", weight_bars(weights, "Weights", 1 / len(weights))
        if result.layer_norms is not None:
            shares = result.layer_shares(weights)
            yield "Share of each layer in the sum (weight times norm)", weight_bars(shares, "Shares", 1 / len(weights))
    singles = [layer for layer in result.layers if isinstance(layer.layer, int)]
    if len(singles) > 1:
        yield "Score by layer", layer_whiskers(result)


def curve_of(result: Result) -> Drawing | None:
    """Return the development scores of the chosen heads on the first layer setting, over their steps."""
    metric = result.metric_types[result.select]
    heads = {(head.fold, head.seed, head.layer, head.lr) for head in result.primary_heads()}
    own = [fit for fit in result.grid if (fit.fold, fit.seed, fit.layer, fit.lr) in heads]
    lines = [line for fit in own if (line := development_line(fit))]
    if not lines:
        return None
    best = metric.written(fmean(head.development for head in result.primary_heads()))
    last, step = metric.written(fmean(line[-1][1] for line in lines)), lines[0][-1][0]
    words = (
        f"Development {metric.title} of {counted(len(lines), 'chosen head')}, mean and range: {best}{metric.unit} at "
        f"the chosen steps, {last}{metric.unit} at the last step, {step:,}."
    )
    return curve(lines, words)


def development_line(fit: FitRecord) -> list[tuple[int, float]]:
    """Return the steps of a fit with their development scores, as far as they are finite."""
    return [(step, value) for step, _, value in fit.curve if value is not None]


def weight_bars(weights: Sequence[float], what: str, even: float | None) -> Drawing:
    """Return a value of each layer as bars, with the share that would be even as a line."""
    listed = ", ".join(f"{weight:.3f}" for weight in weights)
    most = f"Layer {weights.index(max(weights))} has most"
    flat = "" if even is None else f"; {even:.3f} would be even"
    return bars(weights, even, f"{what} of layers 0 to {len(weights) - 1}: {listed}. {most}{flat}.")


def layer_whiskers(result: Result) -> Drawing:
    """Return the primary score on each single layer, with its interval, and the weighted sum as a line."""
    metric, primary = metric_of(result), result.primary
    scores = {layer.layer: layer.score(primary.name, primary.part) for layer in result.layers}
    singles = [scores[layer] for layer in scores if isinstance(layer, int)]
    best = (max if metric.higher_is_better else min)(singles, key=lambda score: score.value)
    mix = scores.get(None)
    line = "" if mix is None else f"; the line is the weighted sum, {metric.written(mix.value)}{metric.unit}"
    words = f"{metric.title} on each layer with its interval, at best {metric.written(best.value)}{metric.unit}{line}."
    return whiskers([(one.value, one.low, one.high) for one in singles], mix.value if mix else None, words)
