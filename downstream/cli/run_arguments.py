"""The arguments of `wavprobe run`."""

from __future__ import annotations

import argparse
from pathlib import Path

from downstream.cli import s3prl_flags
from upstream.arguments import filled, folder, layer, positive, whole_number
from upstream.catalog import DTYPES, FASTEST
from upstream.command_line import add_verbose
from upstream.files import DEFAULT_STORE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add upstream, recipe and options."""
    add = parser.add_argument
    add(
        "-u",
        "--upstream",
        nargs="+",
        action="extend",
        help="a name from --list, a checkpoint, ORG/NAME[@REVISION] of the hub, module.py:function; or several of them",
    )
    add(
        "-d",
        "--downstream",
        nargs="+",
        action="extend",
        metavar="RECIPE",
        help="a recipe or a suite from --list, or a YAML file of either; or several of them",
    )
    add(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="[RECIPE:]KEY=VALUE",
        help="override a field of the recipe; of several, of all that have it, or of one: asr:training.steps=200",
    )
    add("-l", "--layer", type=layer, metavar="N", help="one layer instead of the weighted sum")
    add("--seed", type=whole_number, default=0, help="seed of the heads' initial weights and of untrained upstreams")
    add(
        "--finetune",
        action="store_true",
        help="let the encoder learn too, as -o finetune.KEY=VALUE says",
    )
    add("--final", action="store_true", help="then learn one head from all data, for wavprobe predict and export")
    add(
        "--head-from",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="learn nothing, and test the heads in a file (of wavprobe convert or export) or of a run's folder; "
        "several for several folds",
    )
    add("--plan", action="store_true", help="say what it will take (hours of audio, disk, time), and compute nothing")
    add("--fresh", action="store_true", help="discard an earlier run and start again")
    add("--plots", action="store_true", help="draw pictures into the run's folder, as PNG and SVG")
    add("--list", action="store_true", help="list upstreams, recipes and corpora")
    add_verbose(parser)
    add_data(parser.add_argument_group("data"))
    add_upstream(parser.add_argument_group("upstream"))
    add_places(parser.add_argument_group("results and store"))
    s3prl_flags.add_arguments(parser)


def add_data(group: argparse._ArgumentGroup) -> None:
    """Add where the recordings are."""
    add = group.add_argument
    add(
        "--data",
        nargs="+",
        action="extend",
        type=filled,
        default=[],
        metavar="DIR",
        help="folder of the corpus in its published layout; for several corpora the folder in which they lie by their "
        "names, or CORPUS=DIR for each",
    )
    add("-c", "--corpus", metavar="NAME", help="another corpus; 'manifest' is any folder with a manifest.csv")
    add_check(group)


def add_check(group: argparse._ArgumentGroup) -> None:
    """Add whether recordings are read that were read before."""
    group.add_argument(
        "--check-audio", action="store_true", help="read all recordings, also those unchanged since an earlier run"
    )


def add_upstream(group: argparse._ArgumentGroup) -> None:
    """Add how the upstream is loaded."""
    add = group.add_argument
    add("--random-init", action="store_true", help="the same architecture with untrained weights")
    add("--device", default="auto", help="of the upstream: auto, cpu, cuda, cuda:0 (default auto)")
    add(
        "--dtype",
        default="float32",
        choices=(*DTYPES, FASTEST),
        help="precision of the upstream (default float32); auto: the fastest whose scores agree with float32's",
    )


def add_places(group: argparse._ArgumentGroup) -> None:
    """Add where results and states lie."""
    add = group.add_argument
    add("-n", "--name", metavar="NAME", help="of the run: RESULTS/RECIPE/UPSTREAM/NAME (default: made of its settings)")
    add("-p", "--folder", type=folder, metavar="DIR", help="exactly the folder of the run, instead of -n and --results")
    add_stores(group)


def add_stores(group: argparse._ArgumentGroup) -> None:
    """Add the folders of all results and all states."""
    add = group.add_argument
    add("--results", type=folder, default=Path("results"), metavar="DIR", help="folder of records (default results)")
    add(
        "--store",
        type=folder,
        default=DEFAULT_STORE,
        metavar="DIR",
        help=f"folder of hidden states (default {DEFAULT_STORE})",
    )
    add("--store-limit", metavar="SIZE", help="limit of new data in the store: 50GB (default half of the free disk)")
    add(
        "--snapshot-seconds",
        type=positive,
        default=30.0,
        metavar="S",
        help="seconds between two snapshots of the training, from which an interrupted run resumes (default 30)",
    )
