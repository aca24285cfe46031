"""The model card of exported heads: Markdown, made from the record alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

import yaml

from downstream.report import score_line
from downstream.results import HeadFile, Result, place_of_upstream
from upstream.text import counted, one_line

LIBRARY = "wavprobe"
CARD_BEGINS = f"---\nlibrary_name: {LIBRARY}\n"
OUTPUTS_SHOWN = 40


def card_of(about: HeadFile, record: Result, file: str, compares: bool = False) -> str:
    """Return the card of the heads in a file.

    about: its metadata. record: of their run. compares: True for heads that answer about two recordings.
    """
    recordings = ["one.wav", "other.wav"] if compares else ["recording.wav"]
    lines = [*front_matter(about), *sections(about, record), *how_to_use(about, file, recordings)]
    return "\n".join(lines) + "\n"


def front_matter(about: HeadFile) -> Iterator[str]:
    """Yield the fields that the Hugging Face hub reads of a card."""
    fields: dict[str, object] = {"library_name": LIBRARY, "tags": ["speech", about.recipe["name"]]}
    if about.upstream.revision is not None:
        fields["base_model"] = about.upstream.source
    yield f"---\n{yaml.safe_dump(fields, allow_unicode=True, sort_keys=False)}---"


def sections(about: HeadFile, record: Result) -> Iterator[str]:
    """Yield the card's paragraphs on what it is: its upstream, its data, its score, and what to know."""
    yield f"# {one_line(record.title)}"
    yield f"\n{summary(about, record)}\n"
    yield "| | |\n|---|---|"
    for name, value in facts(about, record):
        yield f"| {name} | {one_line(value).replace('|', chr(92) + '|')} |"
    yield "\n## What to know\n"
    notes = [*record.caveats, *record.upstream.notes, *record.corpus.notes]
    for note in [*score_notes(about), *(notes or ["Nothing beyond the score and its interval was noted."])]:
        yield f"- {one_line(note)}"


def how_to_use(about: HeadFile, file: str, recordings: Sequence[str]) -> Iterator[str]:
    """Yield the commands; a reader has to name an upstream that is somebody's path or function."""
    own = next(iter(about.encoders.values()), None)
    path = place_of_upstream(about.upstream) if own is None else own.folder
    option, argument = ("", "") if path is None else (f" -u {shlex.quote(path)}", f", upstream={json.dumps(path)}")
    yield f"\n## How to use it\n\n```sh\nwavprobe predict {shlex.quote(file)}{option} {' '.join(recordings)}\n```\n"
    call = f"downstream.predict({json.dumps(file)}, {json.dumps(list(recordings))}{argument})"
    yield f"```python\nimport downstream\n\nrows = {call}\n```\n"
    if own is not None:
        yield "The encoder was fine-tuned with this head: take the folder from its run, and lay it beside the head."
    elif path is None:
        yield f"The upstream is loaded as {one_line(about.upstream.name)}; where it lies elsewhere, name it with `-u`."
    else:
        yield f"The upstream, {one_line(about.upstream.name)}, has to be named: `FOLDER` is where you have it."


def summary(about: HeadFile, record: Result) -> str:
    """Return what the file holds."""
    if record.final is not None and list(about.heads) == ["final"]:
        return (
            f"A head that learned from all {record.final.utterances:,} utterances of its corpus, with the learning "
            "rate, layer and number of steps that development sets chose."
        )
    if len(about.heads) == 1:
        (name,) = about.heads
        return f"The head {name}, as development chose it and the test part scored it."
    return f"{len(about.heads)} heads, one for each fold and seed, whose mean is the answer: {', '.join(about.heads)}."


def facts(about: HeadFile, record: Result) -> Iterator[tuple[str, str]]:
    """Yield the rows of the card's table."""
    upstream, corpus = record.upstream, record.corpus
    at = f" at {upstream.revision}" if upstream.revision else ""
    untrained = ", untrained" if upstream.random_init else ""
    yield (
        "upstream" if not about.encoders else "upstream, before it was fine-tuned",
        f"{upstream.name}{untrained}: {counted(upstream.layers, 'layer')} of {upstream.dim}, {upstream.dtype}; "
        f"{upstream.source}{at}; fingerprint {upstream.fingerprint[:16]}",
    )
    layers = {head.layer for head in about.heads.values()}
    yield (
        "layer",
        ", ".join("weighted sum of all" if layer is None else str(layer) for layer in sorted(layers, key=str)),
    )
    used = corpus.used
    yield "data", f"{corpus.title} ({corpus.licence}): {used.utterances:,} utterances, {used.speakers_known}"
    yield "split", corpus.split_rule
    yield "score", f"{score_line(record)}, on the part {record.primary.part}"
    yield "recipe", f"{record.recipe.name}, version {record.recipe.version} ({record.recipe.protocol})"
    outputs = next(iter(about.folds.values())).outputs
    if outputs:
        more = f" and {len(outputs) - OUTPUTS_SHOWN} more" if len(outputs) > OUTPUTS_SHOWN else ""
        yield "outputs", f"{', '.join(outputs[:OUTPUTS_SHOWN])}{more}"


def score_notes(about: HeadFile) -> list[str]:
    """Return what the score is not, for heads that it was not measured on."""
    if len(about.heads) == 1 and next(iter(about.heads.values())).development is None:
        return ["The score is that of heads which learned from less; no data were left to test this one on."]
    if len(about.heads) > 1:
        return ["The score is the mean of the heads by themselves; that of their mean answer was not measured."]
    return []
