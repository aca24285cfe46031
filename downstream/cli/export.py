"""`wavprobe export`: the heads of a run as one file, with a model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from upstream.command_line import add_verbose
from upstream.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add run, file and heads."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, or its result.json")
    parser.add_argument("to", type=Path, metavar="FILE.safetensors", help="the file; the card is FILE.md beside it")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NAME",
        help="a head, such as fold1-seed0 (default those that wavprobe predict takes)",
    )
    parser.add_argument("--family", metavar="FILE.py:CLASS", help="code of an external family, which you trust")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Write the file and its card."""
    from downstream.prediction import export
    from upstream.sizes import readable

    file, card = export(options.run, options.to, options.head, options.family)
    print(printable(f"{file} ({readable(file.stat().st_size)}) has all that the heads need; {card} describes them."))
    return 0
