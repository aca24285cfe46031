"""`wavprobe validate`: check recipes without running them."""

from __future__ import annotations

import argparse

from upstream.command_line import add_verbose
from upstream.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add recipes and overrides."""
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="a recipe from `wavprobe list`, or a YAML file")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's field"
    )
    parser.add_argument("--show", action="store_true", help="print each recipe with every setting and default")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Check every recipe; raise UserError with all errors where there are any."""
    import yaml

    from downstream.cli.s3prl_keys import translated
    from downstream.data.corpora import find_card
    from downstream.tasks import family_of, load_recipe

    given = translated(options.override)
    if given.flags:
        print(f"note: {' '.join(given.flags)} is for `wavprobe run`, and no setting of a recipe.")
    faults = []
    for name in options.recipes:
        try:
            recipe = load_recipe(name, given.overrides)
            find_card(recipe.corpus.name)
            family_of(recipe)
        except UserError as error:
            faults.append(str(error))
            continue
        print(f"{name}: valid ({recipe.task}, {recipe.protocol}, version {recipe.version})")
        if options.show:
            print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    if faults:
        raise UserError("\n".join(faults))
    return 0
