"""`wavprobe check`: try an upstream out and say what it is like, before anything is learned from it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from upstream.arguments import whole_number
from upstream.catalog import DTYPES, FASTEST
from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from upstream.check import Finding

STEP_WIDTH = 11  # columns; the longest is "second load"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the upstream and how to load it."""
    parser.add_argument("upstream", nargs="?", help="module.py:function, or anything that `wavprobe run -u` takes")
    parser.add_argument("-u", dest="given", metavar="UPSTREAM", help="the same, as `wavprobe run` takes it")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0 (default auto)")
    parser.add_argument("--dtype", default="float32", choices=(*DTYPES, FASTEST), help="precision (default float32)")
    parser.add_argument("--random-init", action="store_true", help="check the untrained control itself")
    parser.add_argument("--seed", type=whole_number, default=0, help="of untrained weights (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Check an upstream; raise the UserError of the first step that fails, after the steps that passed."""
    from upstream.check import Candidate, examine
    from upstream.terminal import console

    name = options.upstream or options.given
    if name is None:
        raise UserError("Name the upstream to check: `wavprobe check my_model.py:build`.")
    candidate = Candidate(name, options.device, options.dtype, options.random_init, options.seed)
    findings: list[Finding] = []
    if options.json:
        with written_as_json(candidate.name, findings), contextlib.redirect_stdout(sys.stderr):
            examine(candidate, findings.append)
        return 0
    shown = console()
    shown.print(f"[bold]{printable(candidate.name)}[/bold]" if shown.is_terminal else printable(candidate.name))
    with shown.status("checking"):
        examine(candidate, lambda finding: show(finding, shown))
    return 0


@contextlib.contextmanager
def written_as_json(name: str, findings: list[Finding]) -> Iterator[None]:
    """Print the findings at the end, also those before an error."""
    error: str | None = None
    finished = False
    try:
        yield
        finished = True
    except UserError as raised:
        error = str(raised)
        raise
    finally:
        content: dict[str, Any] = {
            "upstream": printable(name),
            "usable": finished,
            "error": error,
            "findings": [vars(finding) | {"values": dict(finding.values)} for finding in findings],
        }
        print(json.dumps(content, indent=2, ensure_ascii=False))


def show(finding: Finding, console: Console) -> None:
    """Print a finding: its verdict, its step, and what was found, which takes as many lines as it needs."""
    from rich.table import Column, Table
    from rich.text import Text

    style = {"ok": "green", "note": "yellow"}[finding.verdict]
    if not console.is_terminal:  # a line each, to be searched
        console.print(Text(f"{finding.verdict:<6}{finding.step:<{STEP_WIDTH}}  {finding.found}"), soft_wrap=True)
        return
    line = Table.grid(Column(width=4), Column(width=STEP_WIDTH), Column(), padding=(0, 2, 0, 0))
    line.add_row(Text(finding.verdict, style=style), finding.step, Text(finding.found))
    console.print(line)
