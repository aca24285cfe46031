"""What a person sees of a result on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from downstream.results import HeadRecord, Result
from upstream.terminal import plain_table

BARS = " ▁▂▃▄▅▆▇█"


def show(result: Result, folder: Path, console: Console) -> None:
    """Print a result: what was measured, the folds, the confusions, the layers, the score and its caveats."""

    def say(heading: str, sentence: str, style: str = "") -> None:
        if not console.is_terminal:  # a line each, to be searched
            console.print(Text(f"{heading:<10}{sentence}"), soft_wrap=True)
            return
        line = Table.grid(Column(width=8), Column(), padding=(0, 2, 0, 0))
        line.add_row(Text(heading, style=style), Text(sentence, style=style))
        console.print(line)

    corpus, timing = result.corpus, result.timing
    labels = ", ".join(f"{name} {count}" for name, count in corpus.used.labels.items())
    console.print(Text(str(result.recipe.resolved["title"]), style="bold"))
    say("upstream", describe_upstream(result))
    say("corpus", f"{corpus.title}: {corpus.coverage}")
    say(
        "used",
        f"{corpus.used.utterances} utterances, {corpus.used.seconds / 60:.1f} min, "
        f"{corpus.used.speakers} speakers ({labels})",
    )
    say("split", corpus.split_rule)
    say("protocol", f"{result.recipe.protocol}; recipe {result.recipe.name}, version {result.recipe.version}")
    console.print()
    console.print(fold_table(result))
    console.print(confusion_table(result))
    if len({point.lr for point in result.grid}) > 1:
        console.print(rate_table(result))
    if len(result.layers) > 1:
        console.print(layer_table(result))
    if result.layers[0].layer is None and len(result.layer_weights) > 1:
        say("layers", layer_plot(result.layer_weights))
    if len(result.layers[0].by_seed) > 1:
        say("seeds", seed_line(result))
    say("score", score_line(result), style="bold green")
    say("states", states_line(result))
    say(
        "time",
        f"reading {timing.reading:.1f} s, extraction {timing.extraction:.1f} s, training {timing.training:.1f} s "
        f"({len(result.grid)} heads), evaluation {timing.evaluation:.1f} s",
    )
    for note in [*result.caveats, *result.upstream.notes, *corpus.notes]:
        say("note", note, style="yellow")
    console.print(Text(f"record    {folder / 'result.json'}"), soft_wrap=True)  # in one piece, to be copied


def describe_upstream(result: Result) -> str:
    upstream = result.upstream
    layers = f"{upstream.layers} layers" if upstream.layers > 1 else "1 layer"
    untrained = ", untrained" if upstream.random_init else ""
    revision = f" at {upstream.revision[:12]}" if upstream.revision else ""
    return f"{upstream.name}{untrained}: {layers} x {upstream.dim}, {upstream.dtype}, {upstream.source}{revision}"


def states_line(result: Result) -> str:
    """How the states reached the heads, and how much audio went through the upstream for it."""
    timing, states = result.timing, result.states
    heard = f"{timing.extracted_audio_seconds:,.0f} s of audio went through the upstream in this run"
    corpus = f"the corpus has {timing.audio_seconds:,.0f} s"
    if states.mode == "off":
        return f"computed while heads were learned; {heard}, {corpus}"
    codec = f" as {states.codec}" if states.mode == "frames" else ""
    return f"{states.mode}{codec} from the store; {heard}, {corpus}"


def fold_table(result: Result) -> Table:
    """Scores per fold and their mean, in percent, for the first layer; several seeds are averaged."""
    table = plain_table(title="test scores, %")
    table.add_column("fold")
    columns = ["accuracy", "unweighted_accuracy", "macro_f1"]
    for heading in ("accuracy", "unweighted\naccuracy", "macro\nF1", "majority\nclass", "dev", "step", "lr", "tested"):
        table.add_column(heading, justify="right")
    for fold in result.folds:
        own = [head for head in primary_heads(result) if head.fold == fold.name]
        table.add_row(
            fold.name,
            *(f"{100 * fold.metrics[name]:.2f}" for name in columns),
            f"{100 * fold.majority:.2f}",
            f"{100 * np.mean([head.development for head in own]):.2f}",
            spread([head.step for head in own]),
            spread([head.lr for head in own]),
            str(fold.test.utterances),
        )
    table.add_section()
    means = [f"{100 * result.metrics[name]:.2f}" for name in [*columns, "majority"]]
    tested = sum(fold.test.utterances for fold in result.folds)
    table.add_row("mean", *means, "", "", "", str(tested), style="bold")
    return table


def primary_heads(result: Result) -> list[HeadRecord]:
    """The chosen heads on the layer that gives the primary score."""
    return [head for head in result.heads if head.layer == result.layers[0].layer]


def spread(values: Sequence[float]) -> str:
    """One value, or the least and the largest."""
    low, high = (f"{value:g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def rate_table(result: Result) -> Table:
    """What development made of each learning rate, over all folds, seeds and layers."""
    table = plain_table(title="development by learning rate, %")
    for heading in ("lr", "mean", "best", "chosen", "diverged"):
        table.add_column(heading, justify="right")
    for rate in sorted({point.lr for point in result.grid}, reverse=True):
        own = [point for point in result.grid if point.lr == rate]
        scores = [100 * point.development for point in own if point.development is not None]
        table.add_row(
            f"{rate:g}",
            f"{np.mean(scores):.2f}" if scores else "-",
            f"{max(scores):.2f}" if scores else "-",
            f"{sum(point.chosen for point in own)} of {len(own)}",
            str(sum(point.diverged is not None for point in own)),
        )
    return table


def layer_table(result: Result) -> Table:
    """The score on each layer that was asked for."""
    table = plain_table(title=f"{result.primary.name.replace('_', ' ')} by layer, %")
    for heading in ("layer", "mean", "95 % interval"):
        table.add_column(heading, justify="right")
    best = max(score.value for score in result.layers)
    for score in result.layers:
        table.add_row(
            "mix" if score.layer is None else str(score.layer),
            f"{100 * score.value:.2f}",
            "-" if score.low is None or score.high is None else f"{100 * score.low:.2f} to {100 * score.high:.2f}",
            style="bold" if score.value == best else "",
        )
    return table


def seed_line(result: Result) -> str:
    scores = [100 * score for score in result.layers[0].by_seed.values()]
    each = ", ".join(f"{seed}: {100 * score:.2f}" for seed, score in result.layers[0].by_seed.items())
    return f"{each} % (standard deviation {np.std(scores, ddof=1):.2f})"


def confusion_table(result: Result) -> Table:
    """Confusions of all test sets and seeds together on the first layer, in percent of the true class."""
    counts = np.sum([head.confusion for head in primary_heads(result)], axis=0)
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


def layer_plot(weights: list[float]) -> str:
    """The weight of each layer as a bar, the highest bar the largest weight."""
    top = max(weights)
    bars = "".join(BARS[round(weight / top * (len(BARS) - 1))] for weight in weights)
    best = weights.index(top)
    return (
        f"0 {bars} {len(weights) - 1}   most weight on layer {best} ({top:.3f}; "
        f"{1 / len(weights):.3f} would be even, {min(weights):.3f} is the least)"
    )


def score_line(result: Result) -> str:
    primary = result.primary
    synthetic = " on SYNTHETIC speech" if result.corpus.synthetic else ""
    untrained = " of an UNTRAINED upstream" if result.upstream.random_init else ""
    interval = "no interval: one test speaker"
    if primary.low is not None and primary.high is not None:
        interval = f"95 % interval {100 * primary.low:.2f} to {100 * primary.high:.2f} over speakers"
    return (
        f"{primary.name.replace('_', ' ')} {100 * primary.value:.2f} % ({interval}; "
        f"majority class {100 * result.metrics['majority']:.2f} %){untrained}{synthetic}"
    )
