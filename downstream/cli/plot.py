"""`wavprobe plot`: the pictures of finished runs, made of their records."""

from __future__ import annotations

import argparse
from pathlib import Path

from downstream.cli.family_argument import add_families
from upstream.arguments import folder
from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs, and the folder of the pictures."""
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="folder of a run, or its result.json")
    parser.add_argument(
        "--to", type=folder, metavar="DIR", help="folder of the pictures of one run (default RUN/plots)"
    )
    add_families(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Draw the pictures of every run, and print their files."""
    from downstream.tasks import trust

    trust(options.family)
    if options.to is not None and len(options.runs) > 1:
        raise UserError("--to takes the pictures of one run; those of several would overwrite each other.")
    for path in [record_of(named) for named in options.runs]:
        draw(path, options.to)
    return 0


def draw(path: Path, to: Path | None = None) -> None:
    """Write the pictures of a record and print their names; by default beside it, in plots."""
    from downstream.report import PLOTS, write_plots
    from downstream.results import read_result

    place = to or path.parent / PLOTS
    names = dict.fromkeys(file.stem for file in write_plots(read_result(path), place))
    found = f"{', '.join(names)} (.png and .svg)" if names else "the record has nothing that can be drawn"
    print(f"plots     {printable(str(place))}: {found}")


def record_of(named: Path) -> Path:
    """Return the record of a run; raise UserError where there is none, with those below the folder."""
    from downstream.results import RECORD

    path = named / RECORD if named.is_dir() else named
    if path.is_file():
        return path
    below = sorted(named.rglob(RECORD))[:3] if named.is_dir() else []
    fix = f"Below it there is {', '.join(str(found.parent) for found in below)}." if below else "Name a run's folder."
    raise UserError(f"There is no record {path}. {fix}")
