"""`wavprobe replay`: a result computed again from its record, and compared with it."""

from __future__ import annotations

import argparse

from upstream.arguments import folder
from upstream.command_line import add_verbose
from upstream.files import DEFAULT_STORE

DIFFERS = 3  # exit status; 1 is a bug, and 2 an error that the user can fix


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the record, and what it cannot say."""
    parser.epilog = "Exit status: 0 if scores and predictions are identical, 3 if they differ."
    add = parser.add_argument
    add("run", metavar="RESULT", help="a run's folder, or its result.json")
    add("--to", type=folder, metavar="DIR", help="folder of the replay (default replays/RECIPE/UPSTREAM/RUN)")
    add("--data", type=folder, metavar="DIR", help="folder of the corpus, where it is not found by itself")
    add("-u", "--upstream", help="the upstream, where it is not found as recorded")
    add("-o", "--override", action="append", default=[], metavar="KEY=PATH", help="a file that the recipe names")
    add("--family", metavar="FILE.py:CLASS", help="code of an external family, which you trust")
    add("--device", help="of the upstream: auto, cpu, cuda, cuda:0 (default: as recorded)")
    add("--store", type=folder, default=DEFAULT_STORE, metavar="DIR", help=f"stored states (default {DEFAULT_STORE})")
    add("--fresh-store", action="store_true", help="encode again, whatever states are stored")
    add("--fresh", action="store_true", help="discard an earlier replay of this record, and compute it again")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Compute a result again, and say whether it is identical."""
    from downstream.replaying import replay, show
    from upstream.terminal import console

    found = replay(
        options.run,
        to=options.to,
        upstream=options.upstream,
        data=options.data,
        overrides=options.override,
        device=options.device,
        family=options.family,
        store=options.store,
        fresh_store=options.fresh_store,
        fresh=options.fresh,
    )
    show(found, console())
    return 0 if found.is_identical else DIFFERS
