"""Presentation of a result on the terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from downstream.report.comparable import Comparison, compared
from downstream.report.tables import tables_of
from downstream.results import FinalRecord, FineTuning, Result, Score
from upstream.text import counted, printable

LABELS_SHOWN = 12  # of the classes; the record has all
ENCODERS_SHOWN = 2  # of those that a run keeps
BARS = " ▁▂▃▄▅▆▇█"


def show(result: Result, folder: Path | None, console: Console) -> None:
    """Print a result: what was measured, the folds, the confusions, the layers, the score and its caveats.

    folder: where the record lies; None where it could not be written.
    """

    def say(heading: str, sentence: str, style: str = "") -> None:
        if not console.is_terminal:  # a line each, to be searched
            console.print(Text(f"{heading:<10}{sentence}"), soft_wrap=True)
            return
        line = Table.grid(Column(width=8), Column(), padding=(0, 2, 0, 0))
        line.add_row(Text(heading, style=style), Text(sentence, style=style))
        console.print(line)

    corpus, timing = result.corpus, result.timing
    console.print(Text(result.title, style="bold"))
    say("upstream", describe_upstream(result))
    say("corpus", f"{corpus.title}: {corpus.coverage}")
    say("used", used_line(result))
    say("split", corpus.split_rule)
    say("protocol", f"{result.recipe.protocol}; recipe {result.recipe.name}, version {result.recipe.version}")
    console.print()
    for table in tables_of(result):
        console.print(table, soft_wrap=isinstance(table, Text))
    if len(result.layer_weights) > 1 and all(head.layer is None for head in result.primary_heads()):
        say("layers", layer_plot(result.layer_shares(result.layer_weights), result.layer_norms is not None))
    if len(primary_score(result).by_seed) > 1:
        say("seeds", seed_line(result))
    say("score", score_line(result), style="bold green")
    if not_held := result.primary.interval.partition("not in it: ")[2]:
        say("interval", f"how far the score would move on another test set of this kind; not in it: {not_held}")
    for comparison in compared(result):
        say("published", published_line(comparison, result))
    if result.final is not None:
        say("final", final_line(result.final))
    if result.finetuning is not None:
        say("encoder", encoder_line(result.finetuning))
    say("states", states_line(result))
    say(
        "time",
        f"reading {timing.reading:.1f} s, extraction {timing.extraction:.1f} s, training {timing.training:.1f} s "
        f"({counted(len(result.grid), 'head', 'heads')}), evaluation {timing.evaluation:.1f} s",
    )
    for note in [*result.caveats, *result.upstream.notes, *corpus.notes]:
        say("note", note, style="yellow")
    if folder is not None:
        place = printable(str(folder / "result.json"))
        console.print(Text(f"record    {place}"), soft_wrap=True)  # in one piece, to be copied


def published_line(comparison: Comparison, result: Result) -> str:
    """Return a published score, its table, and how far the result lies from it."""
    reference, metric = comparison.reference, result.metric_types[comparison.own.metric]
    doubt = "" if reference.verified else ", not verified"
    unit = " %" if reference.unit == "percent" else ""
    return (
        f"{metric.title} {reference.value:g}{unit} ({reference.source}{doubt}); "
        f"here {comparison.difference:+.2f}, {comparison.place}"
    )


def primary_score(result: Result) -> Score:
    """Return the primary score with its seeds."""
    return result.layers[0].score(result.primary.name)


def final_line(final: FinalRecord) -> str:
    """Return what the head that is to be used learned from."""
    on = "the weighted sum" if final.layer is None else f"layer {final.layer}"
    return (
        f"a head on {on} learned from all {final.utterances:,} utterances, {duration(final.seconds)}, in "
        f"{final.step:,} steps; the score above is its estimate, of heads that learned from less"
    )


def encoder_line(tuned: FineTuning) -> str:
    """Return what learned of the encoder, and where the encoders lie."""
    processes = f" in {tuned.processes} processes" if tuned.processes > 1 else ""
    kept = ", ".join(one.folder for one in list(tuned.encoders.values())[:ENCODERS_SHOWN])
    more = f" and {count} more" if (count := len(tuned.encoders) - ENCODERS_SHOWN) > 0 else ""
    return (
        f"{tuned.learned:,} of its {tuned.parameters:,} numbers learned{processes}; kept as {kept}{more} by the record"
    )


def describe_upstream(result: Result) -> str:
    upstream = result.upstream
    layers = counted(upstream.layers, "layer")
    untrained = ", untrained" if upstream.random_init else ""
    revision = f" at {upstream.revision[:12]}" if upstream.revision else ""
    return f"{upstream.name}{untrained}: {layers} x {upstream.dim}, {upstream.dtype}, {upstream.source}{revision}"


def states_line(result: Result) -> str:
    """Return the source of the states, and how much audio the upstream encoded for them."""
    timing, states = result.timing, result.states
    encoded = f"{timing.extracted_audio_seconds:,.0f} s of audio went through the upstream in this run"
    corpus = f"the corpus has {timing.audio_seconds:,.0f} s"
    if result.finetuning is not None:
        return f"computed while encoder and heads learned; {encoded}, {corpus}"
    if states.mode == "off":
        return f"computed while heads were learned; {encoded}, {corpus}"
    codec = f" as {states.codec}" if states.mode == "frames" else ""
    return f"{states.mode}{codec} from the store; {encoded}, {corpus}"


def seed_line(result: Result) -> str:
    metric, by_seed = result.metric_types[result.primary.name], primary_score(result).by_seed
    scores = list(by_seed.values())
    each = ", ".join(f"{seed}: {metric.written(score)}" for seed, score in by_seed.items())
    return f"{each}{metric.unit} (standard deviation {metric.written(float(np.std(scores, ddof=1)))})"


def layer_plot(shares: list[float], with_norms: bool) -> str:
    """Return how much each layer adds as a bar, the highest bar the largest share.

    with_norms: whether shares are of weight x norm, and not of weights alone.
    """
    top = max(shares)
    bars = "".join(BARS[round(share / top * (len(BARS) - 1))] for share in shares)
    most = shares.index(top)
    return (
        f"0 {bars} {len(shares) - 1}   largest {'weight x norm' if with_norms else 'weight'}: layer {most} ({top:.3f}; "
        f"{1 / len(shares):.3f} would be even, {min(shares):.3f} is the least)"
    )


def score_line(result: Result) -> str:
    primary, metric = result.primary, result.metric_types[result.primary.name]
    synthetic = " on SYNTHETIC speech" if result.corpus.synthetic else ""
    untrained = " of an UNTRAINED upstream" if result.upstream.random_init else ""
    interval = f"no interval, {primary.interval.removeprefix('none: ')}"
    if primary.low is not None and primary.high is not None:
        over = interval_over(primary.interval)
        interval = f"95 % interval {metric.written(primary.low)} to {metric.written(primary.high)}{over}"
    return (
        f"{metric.title} {metric.written(primary.value)}{metric.unit} ({interval}; "
        f"chance {metric.written(result.chance)}{metric.unit}){untrained}{synthetic}"
    )


def interval_over(how: str) -> str:
    """Return what an interval is over (" over 24 test speakers and 3 seeds"), of its description in a record."""
    _, over, what = how.split(";", maxsplit=1)[0].removesuffix(" (jackknife)").partition(" over ")
    return over + what


def used_line(result: Result) -> str:
    """Return size and labels of what is used of the corpus."""
    used = result.corpus.used
    parts = [
        f"{used.utterances:,} utterances",
        duration(used.seconds),
        used.speakers_known,
    ]
    if used.words is not None:
        parts.append(f"{used.words:,} words")
    labels = list(used.labels.items())
    if not labels:
        return ", ".join(parts)
    shown = ", ".join(f"{name} {count}" for name, count in labels[:LABELS_SHOWN])
    more = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
    return f"{', '.join(parts)} ({shown}{more})"


def duration(seconds: float) -> str:
    """Return minutes, or hours of large corpora."""
    return f"{seconds / 60:.1f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} h"
