"""`wavprobe probe`: a score for every layer of one or several upstreams, on one or several recipes."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from downstream.cli.run_arguments import add_check, add_stores, add_upstream
from downstream.cli.run_options import loading, refuse_missing
from upstream.arguments import folder, whole_number
from upstream.command_line import USER_ERROR, add_verbose
from upstream.errors import UserError
from upstream.sizes import parse_size
from upstream.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from downstream.probing import Probe, Probed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add upstreams, recipes and options."""
    add = parser.add_argument
    add(
        "-u", "--upstream", nargs="+", action="extend", default=[], metavar="UPSTREAM", help="one or several, as of run"
    )
    add("-d", "--downstream", nargs="+", action="extend", default=[], metavar="RECIPE", help="one or several recipes")
    add(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="[RECIPE:]KEY=VALUE",
        help="override a field of all recipes, or of one: asr:training.steps=200",
    )
    add(
        "--seeds",
        nargs="+",
        type=whole_number,
        metavar="N",
        help="seeds of the heads' initial weights (default 0 1, or those that the recipe lists)",
    )
    add("--seed", type=whole_number, default=0, help="seed of untrained upstreams, the control's too")
    add("--no-control", action="store_true", help="leave out the same architecture with untrained weights")
    add("--no-similarity", action="store_true", help="leave out how alike layers are (CKA, correlation with labels)")
    add("--fresh", action="store_true", help="discard earlier runs of this probe and start again")
    add("--to", type=folder, metavar="DIR", help="folder of tables and figures (default RESULTS/probes/NAME)")
    add_verbose(parser)
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[RECIPE:]DIR",
        help="folder of the corpus, of all recipes or one",
    )
    data.add_argument(
        "-c", "--corpus", action="append", default=[], metavar="[RECIPE:]NAME", help="another corpus, likewise"
    )
    add_check(data)
    add_upstream(parser.add_argument_group("upstream"))
    add_stores(parser.add_argument_group("results and store"))


def run(options: argparse.Namespace) -> int:
    """Run everything, show a table for each upstream and recipe, write tables and figures."""
    refuse_missing(options)
    refuse_ranks()

    from upstream.terminal import console

    probe, screen = carried_out(options), console()
    for one in probe.probed:
        show(one, screen)
    for note in probe.notes:
        print(f"note: {note}")
    report_files(probe.write(options.to), probe.folder if options.to is None else options.to)
    for failure in probe.failures:
        print(f"wavprobe probe: this run failed and is missing: {failure}", file=sys.stderr)
    return USER_ERROR if probe.failures else 0


def refuse_ranks() -> None:
    """Raise UserError in one of several processes, which share an extraction alone."""
    from upstream import ranks

    if ranks.current().world > 1:
        raise UserError(
            "A probe is one process. Fill the store with `torchrun … wavprobe run` of each upstream and recipe first; "
            "the probe then reads the states from there."
        )


def carried_out(options: argparse.Namespace) -> Probe:
    """Carry out what was typed."""
    from downstream.probing import probe, probed_recipes
    from downstream.recipes import Options

    recipes = probed_recipes(
        options.downstream,
        seeds=options.seeds,
        overrides=options.override,
        data=options.data,
        corpora=options.corpus,
    )
    common = Options(
        results=options.results,
        store=options.store,
        store_limit=None if options.store_limit is None else parse_size(options.store_limit),
        seed=options.seed,
        fresh=options.fresh,
        check_audio=options.check_audio,
        snapshot_seconds=options.snapshot_seconds,
    )
    wants = {"control": not options.no_control, "similarity": not options.no_similarity}
    return probe(options.upstream, recipes, common, loading=loading(options), **wants)


def show(one: Probed, screen: Console) -> None:
    """Print the scores of one upstream on one recipe by layer, and its caveats."""
    from rich.text import Text

    from downstream.report import layer_table

    result = one.result
    screen.print(Text(f"{one.upstream} on {one.task}: {result.title}", style="bold"))
    screen.print(layer_table(result, one.control))
    for note in result.caveats:
        screen.print(Text(f"note      {note}", style="yellow"), soft_wrap=True)
    screen.print(Text(f"record    {printable(str(result.folder))}"), soft_wrap=True)
    screen.print()


def report_files(files: list[Path], place: Path) -> None:
    """Print the folder of the files, and their names."""
    names = dict.fromkeys(file.stem if file.suffix in (".png", ".svg") else file.name for file in files)
    print(f"probe     {printable(str(place))}: {printable(', '.join(names))} (pictures as .png and .svg)")
