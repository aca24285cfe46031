"""Tables of a result on the terminal, whatever its family."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from downstream.recipes import BEST, CHOSEN
from downstream.report.layer_curve import LayerCurve, choices, learns, mean_development
from downstream.results import MetricRecord, Result, Score
from downstream.tasks import family_of_record
from downstream.training import LayerSetting
from upstream.errors import UserError
from upstream.terminal import plain_table

logger = logging.getLogger("wavprobe")


def tables_of(result: Result) -> list[Table | Text]:
    """Return the tables of a result: folds, scores, what its family adds, learning rates, layers."""
    tables = [fold_table(result), score_table(result), *family_tables(result)]
    if len({fit.lr for fit in result.grid}) > 1:
        tables.append(rate_table(result))
    if len(result.layers) > 1:
        tables.append(layer_table(result))
    elif result.layers[0].layer in (BEST, CHOSEN) and result.upstream.layers > 1:
        tables.append(development_table(result))
    return tables


def family_tables(result: Result) -> Sequence[Table | Text]:
    """Return the tables that the family adds; none where its file is not there, or not trusted."""
    try:
        family = family_of_record(result.task, result.folder)
    except UserError as error:
        logger.warning("%s The tables of the family are left out.", error)
        return ()
    part = result.primary.part
    details = [{"fold": head.fold, **head.details[part]} for head in result.primary_heads() if part in head.details]
    return family.tables(result.details, details)


def fold_table(result: Result) -> Table:
    """Return the scores of each fold and their mean, for the first layer setting; several seeds are averaged.

    Heads that are not trained step by step have no columns of step and learning rate.
    """
    types = result.metric_types
    primary, select = types[result.primary.name], types[result.select]
    columns = [(score.part, score.metric) for score in result.layers[0].scores]
    table = plain_table(title="test scores" + (", %" if all(types[metric].percent for _, metric in columns) else ""))
    table.add_column("fold")
    headings = (heading_of(types[metric], part, result) for part, metric in columns)
    descends = any(head.lr is not None for head in result.primary_heads())
    for heading in (*headings, "chance", f"dev\n{select.title}", *(("step", "lr") if descends else ()), "tested"):
        table.add_column(heading, justify="right")
    for fold in result.folds:
        own = [head for head in result.primary_heads() if head.fold == fold.name]
        rates = [head.lr for head in own if head.lr is not None]
        training = (spread([head.step for head in own]), spread(rates)) if descends else ()
        table.add_row(
            fold.name,
            *(types[metric].written(fold.metrics[part][metric]) for part, metric in columns),
            primary.written(fold.chance),
            select.written(float(np.mean([head.development for head in own]))),
            *training,
            str(fold.test.utterances),
        )
    if len(result.folds) > 1:
        table.add_section()
        means = [types[score.metric].written(score.value) for score in result.layers[0].scores]
        tested = sum(fold.test.utterances for fold in result.folds)
        blank = [""] * (3 if descends else 1)
        table.add_row("mean", *means, primary.written(result.chance), *blank, str(tested), style="bold")
    return table


def heading_of(metric: MetricRecord, part: str, result: Result) -> str:
    """Return a metric's title over a column, with a further test part below it."""
    return metric.title.replace(" ", "\n") if part == result.primary.part else f"{metric.title}\n{part}"


def score_table(result: Result) -> Table:
    """Return every score of the first layer setting with its interval."""
    table = plain_table(title="scores with 95 % intervals")
    for heading in ("metric", "test part", "value", "95 % interval", "chance"):
        table.add_column(heading, justify="left" if heading in {"metric", "test part"} else "right")
    for score in result.layers[0].scores:
        metric = result.metric_types[score.metric]
        is_primary = (score.metric, score.part) == (result.primary.name, result.primary.part)
        table.add_row(
            metric.heading,
            score.part,
            metric.written(score.value),
            interval_of(score, metric),
            "-" if score.chance is None else metric.written(score.chance),
            style="bold" if is_primary else "",
        )
    return table


def spread(values: Sequence[float]) -> str:
    """Return one value, or the least and the largest."""
    low, high = (f"{value:g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def rate_table(result: Result) -> Table:
    """Return the development scores of each learning rate, over all folds, seeds and layers."""
    metric = result.metric_types[result.select]
    best = max if metric.higher_is_better else min
    table = plain_table(title=f"development {metric.title} by learning rate{',' if metric.unit else ''}{metric.unit}")
    for heading in ("lr", "mean", "best", "chosen", "diverged"):
        table.add_column(heading, justify="right")
    for rate in sorted({fit.lr for fit in result.grid if fit.lr is not None}, reverse=True):
        own = [fit for fit in result.grid if fit.lr == rate]
        scores = [fit.development for fit in own if fit.development is not None]
        table.add_row(
            f"{rate:g}",
            metric.written(float(np.mean(scores))) if scores else "-",
            metric.written(best(scores)) if scores else "-",
            f"{sum(fit.chosen for fit in own)} of {len(own)}",
            str(sum(fit.diverged is not None for fit in own)),
        )
    return table


def development_table(result: Result) -> Table:
    """Return the development scores of what was chosen among, layers or their sum too, over all folds and seeds."""
    metric, means = result.metric_types[result.select], mean_development(result)
    table = plain_table(title=f"development {metric.title} by layer{',' if metric.unit else ''}{metric.unit}")
    for heading in ("layer", "mean", "chosen"):
        table.add_column(heading, justify="right")
    chosen = [head.layer for head in result.primary_heads()]
    summed = [None] if result.layers[0].layer == CHOSEN else []
    for layer in (*summed, *range(result.upstream.layers)):
        table.add_row(
            "mix" if layer is None else str(layer),
            metric.written(means[layer]) if layer in means else "-",
            f"{chosen.count(layer)} of {len(chosen)}",
            style="bold" if layer in chosen else "",
        )
    return table


def layer_table(result: Result, control: Result | None = None) -> Table:
    """Return the primary score on each layer setting beside the development score; the best one of that is bold.

    Of layers that got no score, but competed to be the best, the development score stands alone.
    control: the record of the same with an untrained upstream, whose scores stand beside them.
    """
    curve, means, preferred = LayerCurve.of(result), mean_development(result), choices(result)
    metric, select = curve.type, result.metric_types[result.select]
    beside = LayerCurve.of(control).scores if control is not None else {}
    best = (max if select.higher_is_better else min)(means.values(), default=None)
    table = plain_table(title=f"{metric.title} by layer{',' if metric.unit else ''}{metric.unit}")
    columns = ["layer", "mean", "95 % interval", *(["untrained"] if control else []), f"dev {select.title}", "chosen"]
    for heading in columns:
        table.add_column(heading, justify="right")
    names: dict[LayerSetting, str] = {None: "mix" if learns(result) else "average"}
    for setting in dict.fromkeys([*curve.scores, *(fit.layer for fit in result.grid)]):
        score = curve.scores.get(setting)
        development = means.get(setting)
        missing = "-" if setting in (BEST, CHOSEN) else "diverged"
        table.add_row(
            names.get(setting, str(setting)),
            metric.written(score.value) if score else "-",
            interval_of(score, metric) if score else "-",
            *([metric.written(beside[setting].value) if setting in beside else "-"] if control else []),
            missing if development is None else select.written(development),
            f"{preferred[setting]} of {sum(preferred.values())}" if setting in preferred else "",
            style="bold" if development is not None and development == best else "",
        )
    return table


def interval_of(score: Score, metric: MetricRecord) -> str:
    """Return both ends of an interval as the metric is written, or a dash."""
    if score.low is None or score.high is None:
        return "-"
    return f"{metric.written(score.low)} to {metric.written(score.high)}"
