"""One upstream, one recipe, one result.

python run_downstream.py -u wavlm_base -d emotion
python run_downstream.py --list
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import traceback
from pathlib import Path

from upstream.arguments import positive, whole_number
from upstream.catalog import DTYPES, FASTEST
from upstream.errors import MendableError, sentence
from upstream.files import DEFAULT_STORE
from upstream.sizes import parse_size


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="run_downstream.py",
        description="Feed a corpus through a frozen speech encoder, learn a small head on its layers, score it.",
        epilog="The same command goes on with a run that was interrupted. Exit status: 2 for what you can mend.",
    )
    made.add_argument(
        "-u", "--upstream", help="a name from --list, a checkpoint, hf:ORG/NAME[@REVISION], module.py:function"
    )
    made.add_argument("-d", "--downstream", metavar="RECIPE", help="a recipe from --list, or a YAML file")
    made.add_argument("--data", type=Path, metavar="DIR", help="where the corpus lies in its published layout")
    made.add_argument(
        "-c", "--corpus", metavar="NAME", help="another corpus; 'manifest' is any folder with a manifest.csv"
    )
    made.add_argument(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's field"
    )
    made.add_argument("-l", "--layer", type=int, metavar="N", help="one layer instead of the weighted sum")
    made.add_argument("--random-init", action="store_true", help="the same architecture with untrained weights")
    made.add_argument(
        "--seed", type=whole_number, default=0, help="of the head's first weights and of untrained upstreams"
    )
    made.add_argument("--device", default="auto", help="of the upstream: auto, cpu, cuda, cuda:0 (default auto)")
    made.add_argument(
        "--dtype",
        default="float32",
        choices=(*DTYPES, FASTEST),
        help="precision of the upstream (default float32); auto: the fastest whose scores agree with float32's",
    )
    made.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="folder of records (default results)"
    )
    made.add_argument(
        "--store",
        type=Path,
        default=DEFAULT_STORE,
        metavar="DIR",
        help=f"folder of hidden states (default {DEFAULT_STORE})",
    )
    made.add_argument(
        "--store-limit",
        metavar="SIZE",
        help="what may be added to the store: 50GB (default half of the free disk)",
    )
    made.add_argument(
        "--snapshot-seconds",
        type=positive,
        default=30.0,
        metavar="S",
        help="seconds between two snapshots of the training, from which an interrupted run goes on (default 30)",
    )
    made.add_argument("--fresh", action="store_true", help="begin again, whatever an earlier run left")
    made.add_argument("--list", action="store_true", help="list upstreams, recipes and corpora")
    made.add_argument("-v", "--verbose", action="store_true", help="say more, and whence an error came")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(name)s: %(message)s")
    try:
        if options.list:
            return list_names()
        return run(
            options, shlex.join(["python", "run_downstream.py", *(sys.argv[1:] if arguments is None else arguments)])
        )
    except (MendableError, OSError) as error:
        if options.verbose:
            traceback.print_exc()
        print(f"run_downstream.py: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def run(options: argparse.Namespace, command: str) -> int:
    """Load what was named, carry it out, show the result."""
    for name, flag in ((options.upstream, "-u UPSTREAM"), (options.downstream, "-d RECIPE")):
        if name is None:
            raise MendableError(f"{flag} is missing; for example: python run_downstream.py -u wavlm_base -d emotion.")

    from downstream.recipe import effective, load_recipe

    limit = None if options.store_limit is None else parse_size(options.store_limit)
    overrides = [f"corpus.name={options.corpus}"] if options.corpus else []
    overrides += options.override
    recipe = load_recipe(options.downstream, overrides)

    from tqdm.contrib.logging import logging_redirect_tqdm

    import upstream
    from downstream import experiment, report
    from downstream.options import Options
    from upstream import ranks
    from upstream.terminal import console

    own_rank = ranks.current()  # several processes share the extraction under torchrun
    own_rank.claim_gpu(options.device)
    encoder = upstream.load(
        options.upstream,
        device=options.device,
        dtype=options.dtype,
        random_init=options.random_init,
        seed=options.seed,
    )
    chosen = Options(
        data=options.data,
        results=options.results,
        store=options.store,
        store_limit=limit,
        seed=options.seed,
        layer=options.layer,
        fresh=options.fresh,
        snapshot_seconds=options.snapshot_seconds,
        overrides=effective(options.downstream, overrides),
        command=command,
        progress=own_rank.main,
    )
    with logging_redirect_tqdm():  # what -v says appears above the progress bar, not in it
        outcome = experiment.run(encoder, recipe, chosen, own_rank)
    if outcome is None:  # another rank records
        return 0
    report.show(outcome.result, outcome.folder, console())
    if outcome.was_finished:
        print("This run was finished before; nothing was computed. Add --fresh to run it again.")
    return 0


def list_names() -> int:
    """Print the names of upstreams, recipes and corpora; imports no heavy package."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from downstream.corpora.catalog import describe
    from downstream.recipe import load_recipe, recipe_names
    from upstream.catalog import NAMED, OTHER_FORMS

    console = Console()
    recipes = [load_recipe(name) for name in recipe_names()]
    tables = (
        ("upstreams (-u)", ("name", "what"), [(e.name, e.title) for e in NAMED.values()] + list(OTHER_FORMS)),
        (
            "recipes (-d)",
            ("name", "what", "protocol", "corpus"),
            [(recipe.name, recipe.title, recipe.protocol, recipe.corpus.name) for recipe in recipes],
        ),
        (
            "corpora (-c)",
            ("name", "what"),
            [(row.name, f"{row.title}: {row.size}; {row.licence}; {row.how}") for row in describe()],
        ),
    )
    for title, columns, rows in tables:
        named = [Column(column, overflow="fold", no_wrap=column == "name") for column in columns]
        table = Table(*named, title=title, title_justify="left")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
