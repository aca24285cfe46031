"""`wavprobe pretrain`: a WavLM from speech alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from upstream.arguments import not_negative
from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.text import printable

EPILOG = (
    "The folder that comes out is an upstream (-u FOLDER). The same command goes on with a training that was "
    "interrupted. Several processes: torchrun --nproc-per-node 2 -m downstream.cli.main pretrain RECIPE …"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipe, its speech, and where everything lies."""
    parser.epilog = EPILOG
    parser.add_argument("recipe", metavar="RECIPE", help="a name below recipes/pretrain/, or a YAML file")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="folder of a source of speech, by its name in the recipe",
    )
    parser.add_argument("--probe-data", type=Path, metavar="DIR", help="corpus of the recipe that is watched")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    parser.add_argument("--seed", type=int, help="of weights, windows and masks (default: the recipe's)")
    parser.add_argument("-n", "--name", help="of the folder below --results (default: made from the settings)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--store", type=Path, metavar="DIR", help="where targets are kept")
    parser.add_argument("--fresh", action="store_true", help="begin again, whatever an earlier training left")
    parser.add_argument(
        "--snapshot-seconds", type=not_negative, default=60.0, metavar="S", help="between two snapshots (default 60)"
    )
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Pre-train, and say where the model is."""
    from downstream.pretraining import PretrainingOptions, load_pretraining, pretrain
    from upstream.catalog import torch_device
    from upstream.files import DEFAULT_STORE
    from upstream.ranks import current

    recipe = load_pretraining(options.recipe, options.overrides, options.seed)
    ranks = current()
    ranks.claim_gpu(options.device)
    ranks.meet()
    outcome = pretrain(
        recipe,
        PretrainingOptions(
            data=folders_of(options.data),
            probe_data=options.probe_data,
            results=options.results,
            store=options.store or DEFAULT_STORE,
            name=options.name,
            device=torch_device(options.device),
            fresh=options.fresh,
            snapshot_seconds=options.snapshot_seconds,
            command=options.command,
        ),
        ranks,
    )
    if outcome is not None:
        before = "This training was finished before. " if outcome.was_finished else ""
        print(printable(f"{before}The model is {outcome.folder}: wavprobe run -u {outcome.folder} -d demo/emotion"))
    return 0


def folders_of(given: list[str]) -> dict[str, Path]:
    """Return the folders of --data by their names; raises UserError for what is no NAME=DIR."""
    folders = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UserError(
                f"--data takes NAME=DIR, the name of a source of speech in the recipe and its folder; got {text!r}."
            )
        if name in folders:
            raise UserError(f"--data {name}= is given twice; a source has one folder.")
        folders[name] = Path(folder)
    return folders
