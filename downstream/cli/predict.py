"""`wavprobe predict`: the heads of a run, or a task model, on new recordings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from upstream.command_line import add_verbose
from upstream.text import one_line

FORMATS = ("csv", "jsonl", "npy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add run, recordings and options."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run's folder, its result.json, a file of wavprobe export, or a WavLM of transformers with a head: its "
        "folder, or hf:ORG/NAME",
    )
    parser.add_argument(
        "recordings",
        nargs="*",
        metavar="FILES",
        help="audio files, folders, a manifest.csv, a list of files (.txt, .lst), or - for a list on standard input",
    )
    parser.add_argument("--to", type=Path, metavar="FILE", help="file of the answers (default standard output)")
    parser.add_argument("--format", choices=FORMATS, help="of the answers (default: by the ending of --to, else csv)")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NAME",
        help="the head that answers, such as fold1-seed0; several are averaged where the task allows it",
    )
    parser.add_argument(
        "--pairs", metavar="FILE", help="verification: pairs to compare, two recordings a line (default all)"
    )
    parser.add_argument(
        "--embeddings", action="store_true", help="verification: an embedding a recording; --to FILE.npy: as an array"
    )
    parser.add_argument("-u", "--upstream", help="the upstream, where it is not found as recorded; it must be the same")
    parser.add_argument("--device", default="auto", help="of the upstream: auto, cpu, cuda, cuda:0 (default auto)")
    parser.add_argument("--family", metavar="FILE.py:CLASS", help="code of an external family, which you trust")
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out what is no audio, and say so")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Predict and write the answers."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    from downstream.prediction import place_of_answers, predict, write_answers

    place = place_of_answers(options.to, options.format, options.embeddings)
    with logging_redirect_tqdm():
        answers = predict(
            options.run,
            options.recordings,
            heads=options.head,
            pairs=options.pairs,
            embeddings=options.embeddings,
            upstream=options.upstream,
            device=options.device,
            family=options.family,
            skip_unreadable=options.skip_unreadable,
        )
    for note in answers.notes:
        print(one_line(note), file=sys.stderr)  # a file of somebody else may have named what it tells
    write_answers(answers.rows, place)
    return 0
