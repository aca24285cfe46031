"""Record of a finished run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from downstream.data import Dataset, Part, parts_of_test
from downstream.results.anonymous import Anonymous
from downstream.results.caveats import caveats
from downstream.results.environment import environment
from downstream.results.given import GIVEN_PROTOCOL
from downstream.results.record import (
    CorpusRecord,
    FitRecord,
    FoldRecord,
    HeadRecord,
    LayerScores,
    MetricRecord,
    Metrics,
    OptionsRecord,
    Primary,
    RecipeRecord,
    Result,
    Score,
    SplitRecord,
    StatesRecord,
    UpstreamRecord,
)
from downstream.results.run import Run
from downstream.statistics import Interval, SeedItems, score_intervals
from downstream.tasks import Evaluation, Metric
from downstream.training import Fit, LayerSetting, ScoredHead
from upstream.errors import UserError


def build_record(run: Run, folder: Path = Path()) -> Result:
    """Return the record of a run, in which no text tells whose machine it was; folder: where it will lie."""
    hidden, record = Anonymous.of(run.options), recorded(run)
    content = hidden.content(record.model_dump(by_alias=True))
    content["recipe"]["resolved"] = hidden.recipe(record.recipe.resolved, folder)
    replaced = {"task": hidden.task(record.task, folder), "command": hidden.command(record.command)}
    return Result.model_validate(content | replaced)


def recorded(run: Run) -> Result:
    """Return the record of a run, with names and paths as they are."""
    upstream, recipe, dataset = run.upstream, run.recipe, run.dataset
    heads = [head_record(one, run) for one in run.scored]
    chance = [chance_of(run, number) for number in range(len(dataset.split.folds))]
    layers = [layer_scores(setting, heads, chance, run) for setting in dict.fromkeys(one.setting for one in run.scored)]
    first = [head for head in heads if head.setting == layers[0].layer]
    primary = layers[0].score(recipe.primary)
    folds = [fold_record(number, first, chance[number], run) for number in range(len(dataset.split.folds))]
    order = [recipe.learned.training.order_seed] if recipe.learned else []
    return Result(
        task=recipe.task,
        recipe=RecipeRecord(
            name=recipe.name,
            version=recipe.version,
            protocol=recipe.protocol_of_run if run.given is None else GIVEN_PROTOCOL,
            resolved=recipe.model_dump(mode="json"),
            overrides=list(run.options.overrides),
        ),
        upstream=UpstreamRecord.of(upstream),
        corpus=corpus_record(dataset),
        states=StatesRecord(
            mode=run.plan.mode, codec=run.plan.key.codec if run.plan.key else None, bytes=run.plan.total
        ),
        learned=run.learned,
        options=OptionsRecord(seed=run.options.seed, layer=run.options.layer),
        seeds={"head": list(primary.by_seed), "order": order},
        details=dict(run.family.details(dataset)),
        metric_types={name: metric_record(metric) for name, metric in run.family.metrics.items()},
        select=recipe.select,
        primary=Primary(
            name=recipe.primary,
            part=primary.part,
            value=primary.value,
            low=primary.low,
            high=primary.high,
            interval=primary.interval,
            higher_is_better=run.family.metrics[recipe.primary].higher_is_better,
        ),
        chance=mean(fold.chance for fold in folds),
        chance_means=run.family.chance_means,
        folds=folds,
        layers=layers,
        heads=heads,
        grid=[fit_record(fit, run) for fit in run.fits],
        layer_weights=np.mean([head.layer_weights for head in first], axis=0).tolist(),
        layer_norms=list(run.layer_norms),
        finetuning=run.finetuning,
        given=None if run.given is None else run.given.record,
        timing=run.timing,
        environment=environment(upstream.device),
        command=run.options.command,
        caveats=caveats(run, folds, layers[0], heads),
    )


def metric_record(metric: Metric) -> MetricRecord:
    """Return title and format of a metric."""
    return MetricRecord(title=metric.title, higher_is_better=metric.higher_is_better, percent=metric.percent)


# ---------------------------------------------------------------- data


def split_record(dataset: Dataset, indices: Sequence[int]) -> SplitRecord:
    """Return utterances, seconds, speakers, classes and words of some utterances."""
    return SplitRecord(
        utterances=len(indices),
        seconds=round(sum(dataset.items[i].seconds for i in indices), 2),
        speakers=len({dataset.utterances[i].speaker for i in indices if dataset.utterances[i].speech} - {""}),
        labels=dataset.targets.labels(indices),
        words=dataset.targets.words(indices),
    )


def corpus_record(dataset: Dataset) -> CorpusRecord:
    """Return the corpus's part of the record."""
    corpus = dataset.corpus
    return CorpusRecord(
        name=corpus.name,
        title=corpus.title,
        licence=corpus.licence,
        source=corpus.source,
        revision=corpus.revision,
        synthetic=corpus.synthetic,
        fingerprint=dataset.fingerprint,
        coverage=corpus.coverage(),
        label_column=dataset.column,
        used=split_record(dataset, dataset.split.used),
        split_rule=dataset.split.rule,
        speaker_disjoint=not dataset.speaker_caveats,
        notes=[*corpus.notes, *dataset.split.notes, *dataset.notes],
    )


# ---------------------------------------------------------------- scores


def parts_of(run: Run, fold: int) -> list[Part]:
    """Return the test parts of a fold, the primary one first."""
    return parts_of_test(run.dataset, run.dataset.split.folds[fold], run.recipe.split.test_parts)


def chance_of(run: Run, number: int) -> Metrics:
    """Return the chance level of every metric on a fold, by test part."""
    task = run.task.of_fold(run.dataset.split.folds[number].train)
    return {part.name: dict(task.chance(part)) for part in parts_of(run, number)}


def head_record(scored: ScoredHead, run: Run) -> HeadRecord:
    """Return the record of a chosen head."""
    config = scored.fit.config
    return HeadRecord(
        fold=run.dataset.split.folds[scored.fit.fold].name,
        seed=config.seed,
        setting=scored.setting,
        layer=config.layer,
        lr=config.lr,
        step=scored.fit.step,
        development=run.select.sign * scored.fit.development,
        metrics={
            part: {name: finite_value(evaluation, name, part) for name in run.family.metrics}
            for part, evaluation in scored.evaluations.items()
        },
        layer_weights=scored.head.weighted_sum.proportions(),
        details={part: dict(evaluation.details()) for part, evaluation in scored.evaluations.items()},
    )


def finite_value(evaluation: Evaluation, metric: str, part: str) -> float:
    """Return a test score; raise UserError where it is not finite, which a record cannot hold."""
    value = evaluation.value(metric)
    if not math.isfinite(value):
        raise UserError(
            f"The metric {metric} is {value} on the test part {part}; a score must be finite. Test on more utterances, "
            "or fix the metric."
        )
    return value


def fold_record(number: int, heads: Sequence[HeadRecord], chance: Metrics, run: Run) -> FoldRecord:
    """Return a fold, with the mean over seeds of its heads on the first layer setting."""
    fold, dataset = run.dataset.split.folds[number], run.dataset
    own = [head.metrics for head in heads if head.fold == fold.name]
    return FoldRecord(
        name=fold.name,
        train=split_record(dataset, fold.train),
        dev=split_record(dataset, fold.dev),
        test=split_record(dataset, fold.test),
        parts={part.name: split_record(dataset, part.utterances) for part in parts_of(run, number)},
        metrics={
            part: {name: mean(metrics[part][name] for metrics in own) for name in values}
            for part, values in own[0].items()
        },
        chance=next(iter(chance.values()))[run.recipe.primary],
    )


def layer_scores(
    setting: LayerSetting, heads: Sequence[HeadRecord], chance: Sequence[Metrics], run: Run
) -> LayerScores:
    """Return every metric on every test part for a layer setting, with its interval."""
    own = [head for head in heads if head.setting == setting]
    scored = [one for one in run.scored if one.setting == setting]
    scores: list[Score] = []
    for part in own[0].metrics:
        values = {name: mean(head.metrics[part][name] for head in own) for name in run.family.metrics}
        tested = [SeedItems(one.fit.config.seed, one.evaluations[part].items()) for one in scored]
        intervals = score_intervals(tested, values, {name: run.family.metrics[name].range for name in values})
        scores += [
            score(part, name, value, own, intervals[name], [fold.get(part, {}).get(name) for fold in chance])
            for name, value in values.items()
        ]
    return LayerScores(layer=setting, scores=scores)


def score(
    part: str,
    metric: str,
    value: float,
    heads: Sequence[HeadRecord],
    interval: Interval,
    chance: Sequence[float | None],
) -> Score:
    """Return one score of some heads; chance: of each fold, None where it is not known."""
    known = [one for one in chance if one is not None]
    return Score(
        part=part,
        metric=metric,
        value=value,
        low=interval.low,
        high=interval.high,
        interval=interval.how,
        chance=mean(known) if len(known) == len(chance) else None,
        by_seed={
            seed: mean(head.metrics[part][metric] for head in heads if head.seed == seed)
            for seed in dict.fromkeys(head.seed for head in heads)
        },
    )


def fit_record(fit: Fit, run: Run) -> FitRecord:
    """Return the record of a fit, and whether it was chosen."""
    sign = run.select.sign
    return FitRecord(
        fold=run.dataset.split.folds[fit.fold].name,
        lr=fit.config.lr,
        seed=fit.config.seed,
        layer=fit.config.layer,
        step=fit.step,
        development=finite(sign * fit.development),
        curve=[(step, finite(loss), finite(sign * value)) for step, loss, value in fit.history],
        diverged=fit.diverged,
        chosen=id(fit) in run.chosen,
    )


def finite(value: float) -> float | None:
    """Return the value, None for one that JSON does not have."""
    return value if math.isfinite(value) else None


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
