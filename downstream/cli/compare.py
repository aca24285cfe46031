"""`wavprobe compare`: paired tests of runs on the same test items."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from downstream.cli.family_argument import add_families
from upstream.command_line import add_verbose
from upstream.text import printable

if TYPE_CHECKING:
    from downstream.comparison import Comparisons


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs, which of their scores are compared, and where the numbers are written."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        type=Path,
        help="folders of runs, their result.json, or folders of results, whose upstreams are compared task by task",
    )
    parser.add_argument(
        "-l",
        "--layer",
        dest="layers",
        action="append",
        default=[],
        metavar="N",
        help="a layer, mix or best (default: the run's score); once for all runs, once for each, or several of one run",
    )
    parser.add_argument("--metric", help="another metric than the primary one, such as macro_f1 or cer")
    parser.add_argument("--part", help="another test part than the primary one, such as test-other")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the comparisons as a table")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_families(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Compare runs; print a table, what it shows and how it was tested."""
    from downstream.comparison import compare_runs
    from downstream.tasks import trust
    from upstream.files import write_atomically

    trust(options.family)
    found = compare_runs(options.runs, options.layers, options.metric, options.part)
    if options.csv is not None:
        write_atomically(options.csv, found.to_frame().to_csv(index=False).encode())
    if options.json:
        print(found.to_json())
    else:
        show(found)
    return 0


def show(found: Comparisons) -> None:
    """Print for each test a table, what every comparison shows, and how it was made; then what was left out."""
    from rich.text import Text

    from downstream.comparison import by_test, comparison_table, notes, verdict
    from upstream.terminal import console

    shown = console()
    for group in by_test(found.all):
        shown.print(comparison_table(group, is_corrected=len(found) > 1))
        for one in group:
            shown.print(Text(f"verdict   {verdict(one)}", style="bold" if one.is_shown else ""), soft_wrap=True)
        for note in notes(group):
            shown.print(Text(f"note      {note}"), soft_wrap=True)
        shown.print()
    for sentence in found.left_out:
        shown.print(Text(f"left out  {printable(sentence)}", style="yellow"), soft_wrap=True)
