"""`wavprobe run`: one upstream, one recipe, one result."""

from __future__ import annotations

import argparse
from pathlib import Path

from upstream.arguments import folder, layer, positive, whole_number
from upstream.catalog import DTYPES, FASTEST
from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.files import DEFAULT_STORE
from upstream.sizes import parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add upstream, recipe and options."""
    parser.add_argument(
        "-u", "--upstream", help="a name from --list, a checkpoint, hf:ORG/NAME[@REVISION], module.py:function"
    )
    parser.add_argument("-d", "--downstream", metavar="RECIPE", help="a recipe from --list, or a YAML file")
    parser.add_argument("--data", type=folder, metavar="DIR", help="folder of the corpus in its published layout")
    parser.add_argument(
        "-c", "--corpus", metavar="NAME", help="another corpus; 'manifest' is any folder with a manifest.csv"
    )
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's field"
    )
    parser.add_argument("-l", "--layer", type=layer, metavar="N", help="one layer instead of the weighted sum")
    parser.add_argument("--random-init", action="store_true", help="the same architecture with untrained weights")
    parser.add_argument(
        "--seed", type=whole_number, default=0, help="seed of the heads' initial weights and of untrained upstreams"
    )
    parser.add_argument("--device", default="auto", help="of the upstream: auto, cpu, cuda, cuda:0 (default auto)")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=(*DTYPES, FASTEST),
        help="precision of the upstream (default float32); auto: the fastest whose scores agree with float32's",
    )
    parser.add_argument(
        "--results", type=folder, default=Path("results"), metavar="DIR", help="folder of records (default results)"
    )
    parser.add_argument(
        "--store",
        type=folder,
        default=DEFAULT_STORE,
        metavar="DIR",
        help=f"folder of hidden states (default {DEFAULT_STORE})",
    )
    parser.add_argument(
        "--store-limit", metavar="SIZE", help="limit of new data in the store: 50GB (default half of the free disk)"
    )
    parser.add_argument(
        "--snapshot-seconds",
        type=positive,
        default=30.0,
        metavar="S",
        help="seconds between two snapshots of the training, from which an interrupted run resumes (default 30)",
    )
    parser.add_argument("--fresh", action="store_true", help="discard an earlier run and start again")
    parser.add_argument(
        "--check-audio", action="store_true", help="read all recordings, also those unchanged since an earlier run"
    )
    parser.add_argument("--list", action="store_true", help="list upstreams, recipes and corpora")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Load upstream and recipe, run them, show the result."""
    if options.list:
        from downstream.cli import listing

        return listing.run(options)
    for name, flag in ((options.upstream, "-u UPSTREAM"), (options.downstream, "-d RECIPE")):
        if not name:
            raise UserError(f"{flag} is missing; for example: -u wavlm_base -d emotion.")

    from downstream.experiment import run_named
    from downstream.recipes import Options
    from downstream.report import show
    from downstream.results import UnwrittenError
    from upstream import ranks
    from upstream.terminal import console

    own_rank = ranks.current()  # several processes share the extraction under torchrun
    own_rank.claim_gpu(options.device)
    own_rank.meet()
    chosen = Options(
        data=options.data,
        results=options.results,
        store=options.store,
        store_limit=None if options.store_limit is None else parse_size(options.store_limit),
        seed=options.seed,
        layer=options.layer,
        fresh=options.fresh,
        check_audio=options.check_audio,
        snapshot_seconds=options.snapshot_seconds,
        command=options.command,
        progress=own_rank.main,
    )
    overrides = [f"corpus.name={options.corpus}"] if options.corpus is not None else []
    overrides += options.override
    loading = {name: getattr(options, name) for name in ("device", "dtype", "random_init", "seed")}
    try:
        outcome = run_named(
            options.downstream, options.upstream, chosen, overrides=overrides, loading=loading, ranks=own_rank
        )
    except UnwrittenError as error:
        show(error.result, None, console())
        raise
    if outcome is None:  # another rank records
        return 0
    show(outcome.result, outcome.folder, console())
    if outcome.was_finished:
        print("This run was finished before; nothing was computed. Add --fresh to run it again.")
    return 0
