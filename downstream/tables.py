"""The tables of a result on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from downstream.metrics import METRICS, IntArray, Metric
from downstream.results import HeadRecord, Result
from upstream.terminal import plain_table

WIDEST_CONFUSIONS = 16  # classes; of more, each class's recall and what it is most taken for is shown


def tables_of(result: Result) -> list[Table]:
    """What there is to show of a result, the scores first."""
    tables = [fold_table(result)]
    if result.task == "classification":
        tables.append(confusion_table(result) if len(result.classes) <= WIDEST_CONFUSIONS else recall_table(result))
    elif result.task == "recognition":
        tables.append(error_table(result))
    else:
        tables.append(trial_table(result))
    if len({point.lr for point in result.grid}) > 1:
        tables.append(rate_table(result))
    if len(result.layers) > 1:
        tables.append(layer_table(result))
    return tables


def fold_table(result: Result) -> Table:
    """Scores per fold and their mean for the first layer; several seeds are averaged."""
    primary, select = METRICS[result.primary.name], METRICS[select_of(result)]
    columns = list(result.metrics)
    table = plain_table(title="test scores" + (", %" if all(metric_of(name).percent for name in columns) else ""))
    table.add_column("fold")
    for heading in (*map(heading_of, columns), "chance", f"dev\n{select.title}", "step", "lr", "tested"):
        table.add_column(heading, justify="right")
    for fold in result.folds:
        own = [head for head in primary_heads(result) if head.fold == fold.name]
        table.add_row(
            fold.name,
            *(metric_of(name).written(fold.metrics[name]) for name in columns),
            primary.written(fold.chance),
            select.written(float(np.mean([head.development for head in own]))),
            spread([head.step for head in own]),
            spread([head.lr for head in own]),
            str(fold.test.utterances),
        )
    if len(result.folds) > 1:
        table.add_section()
        means = [metric_of(name).written(result.metrics[name]) for name in columns]
        tested = sum(fold.test.utterances for fold in result.folds)
        table.add_row("mean", *means, primary.written(result.chance), "", "", "", str(tested), style="bold")
    return table


def metric_of(name: str) -> Metric:
    """The metric of a name that may have a test part behind it, "wer_test-other"."""
    return METRICS[name] if name in METRICS else METRICS[name.partition("_")[0]]


def heading_of(name: str) -> str:
    """A metric's title over a column, its test part below it."""
    if name in METRICS:
        return METRICS[name].title.replace(" ", "\n")
    metric, _, part = name.partition("_")
    return f"{METRICS[metric].title}\n{part}"


def select_of(result: Result) -> str:
    """The metric that chose the steps."""
    training = result.recipe.resolved["training"]
    return str(training["select"] or result.primary.name)


def primary_heads(result: Result) -> list[HeadRecord]:
    """The chosen heads on the layer that gives the primary score."""
    return [head for head in result.heads if head.layer == result.layers[0].layer]


def spread(values: Sequence[float]) -> str:
    """One value, or the least and the largest."""
    low, high = (f"{value:g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def rate_table(result: Result) -> Table:
    """What development made of each learning rate, over all folds, seeds and layers."""
    metric = METRICS[select_of(result)]
    best = max if metric.higher_is_better else min
    table = plain_table(title=f"development {metric.title} by learning rate{',' if metric.unit else ''}{metric.unit}")
    for heading in ("lr", "mean", "best", "chosen", "diverged"):
        table.add_column(heading, justify="right")
    for rate in sorted({point.lr for point in result.grid}, reverse=True):
        own = [point for point in result.grid if point.lr == rate]
        scores = [point.development for point in own if point.development is not None]
        table.add_row(
            f"{rate:g}",
            metric.written(float(np.mean(scores))) if scores else "-",
            metric.written(best(scores)) if scores else "-",
            f"{sum(point.chosen for point in own)} of {len(own)}",
            str(sum(point.diverged is not None for point in own)),
        )
    return table


def layer_table(result: Result) -> Table:
    """The score on each layer that was asked for."""
    metric = METRICS[result.primary.name]
    table = plain_table(title=f"{metric.title} by layer{',' if metric.unit else ''}{metric.unit}")
    for heading in ("layer", "mean", "95 % interval"):
        table.add_column(heading, justify="right")
    best = (max if metric.higher_is_better else min)(score.value for score in result.layers)
    for score in result.layers:
        table.add_row(
            "mix" if score.layer is None else str(score.layer),
            metric.written(score.value),
            "-" if score.low is None or score.high is None else interval_of(score.low, score.high, metric),
            style="bold" if score.value == best else "",
        )
    return table


def confusion_table(result: Result) -> Table:
    """Confusions of all test sets and seeds together on the first layer, in percent of the true class."""
    counts = confusions(result)
    table = plain_table(title="true class (rows) taken for (columns), %")
    table.add_column("")
    for name in result.classes:
        table.add_column(Text(name), justify="right")
    table.add_column("count", justify="right")
    for row, name in enumerate(result.classes):
        total = int(counts[row].sum())
        shares = [Text(f"{100 * count / total:.1f}" if total else "-") for count in counts[row]]
        shares[row].stylize("bold")
        table.add_row(Text(name), *shares, str(total))
    return table


def confusions(result: Result) -> IntArray:
    """The confusions of all heads on the first layer, (C, C)."""
    counts: IntArray = np.sum([np.array(head.confusion) for head in primary_heads(result)], axis=0)
    return counts


def recall_table(result: Result) -> Table:
    """Of each class the share that was right, and the class it was most often taken for."""
    counts = confusions(result)
    table = plain_table(title="recall of each class, %")
    for heading in ("class", "recall", "count", "most taken for"):
        table.add_column(heading, justify="left" if heading in {"class", "most taken for"} else "right")
    for row, name in enumerate(result.classes):
        total = int(counts[row].sum())
        wrong = counts[row].copy()
        wrong[row] = 0
        taken = f"{result.classes[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else "-"
        recall = f"{100 * counts[row, row] / total:.1f}" if total else "-"
        table.add_row(Text(name), recall, str(total), Text(taken))
    return table


def error_table(result: Result) -> Table:
    """The kinds of word errors of all folds and seeds together, in percent of the reference's words."""
    errors = [head.errors for head in primary_heads(result) if head.errors is not None]
    words = sum(one.reference_length for one in errors)
    table = plain_table(title="word errors")
    for heading in ("", "count", "% of words"):
        table.add_column(heading, justify="right" if heading else "left")
    for kind in ("substitutions", "deletions", "insertions"):
        count = sum(getattr(one, kind) for one in errors)
        table.add_row(kind, f"{count:,}", f"{100 * count / words:.2f}" if words else "-")
    table.add_row("words of the references", f"{words:,}", "")
    return table


def trial_table(result: Result) -> Table:
    """The trials of each fold, and the score at which both kinds of errors are equally frequent."""
    table = plain_table(title="trials")
    for heading in ("fold", "trials", "of one speaker", "threshold"):
        table.add_column(heading, justify="right" if heading != "fold" else "left")
    for fold in result.folds:
        own = [head.trials for head in primary_heads(result) if head.fold == fold.name and head.trials is not None]
        threshold = np.mean([one.threshold for one in own])
        table.add_row(fold.name, f"{own[0].trials:,}", f"{own[0].targets:,}", f"{threshold:.3f}")
    return table


def interval_of(low: float, high: float, metric: Metric) -> str:
    """Both ends of an interval, as the metric is written."""
    return f"{metric.written(low)} to {metric.written(high)}"
