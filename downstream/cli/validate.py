"""`wavprobe validate`: check recipes without running them, and records against their own files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from downstream.cli.family_argument import add_families
from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.text import counted

if TYPE_CHECKING:
    from pydantic import BaseModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add recipes, records and overrides."""
    parser.add_argument(
        "recipes",
        nargs="+",
        metavar="RECIPE|RESULTS",
        help="a recipe, suite or pre-training of `wavprobe list`, or a YAML file; or a result.json, or a folder of "
        "them: whether scores follow from predictions, and nothing contradicts itself",
    )
    add_families(parser)
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's field"
    )
    parser.add_argument("--show", action="store_true", help="print each recipe with every setting and default")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Check every recipe and record; raise UserError with all errors where there are any."""
    records = [name for name in options.recipes if is_of_records(name)]
    recipes = [name for name in options.recipes if name not in records]
    faults = [*faults_of_recipes(recipes, options), *(faults_of_records(records, options.family) if records else [])]
    if faults:
        raise UserError("\n".join(faults))
    return 0


def is_of_records(name: str) -> bool:
    """Return True for a folder, which may be missing if it is written as one, or a record, which no recipe is."""
    return Path(name).is_dir() or name.endswith(("/", ".json"))


def faults_of_records(folders: Sequence[str], families: Sequence[str]) -> list[str]:
    """Check all records below some folders, say what each holds and what was not checked; return why others do not."""
    from downstream.results import checked_records

    found = checked_records(folders, families)
    if not (found.kept or found.refused):
        return [f"There is no result.json below {', '.join(folders)}: no run has finished there."]
    for one in found.kept:
        print(f"{one.result.folder}: {'valid as far as it was checked' if one.unchecked else 'valid'}")
        for sentence in one.unchecked:
            print(f"  not checked: {sentence}")
    for path in found.repeated:
        print(f"{path.parent}: there already")
    return [refused.why for refused in found.refused]


def faults_of_recipes(recipes: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Check recipes, and print those that are valid; return what is wrong with the others."""
    from downstream.cli.s3prl_keys import translated
    from downstream.data.corpora import find_card
    from downstream.pretraining import load_pretraining
    from downstream.recipes import is_pretraining
    from downstream.suites import choose_recipes, is_suite, named_suite
    from downstream.tasks import family_of, load_recipe

    given = translated(options.override)
    if given.flags:
        print(f"note: {' '.join(given.flags)} is for `wavprobe run`, and no setting of a recipe.")
    faults = []
    for name in recipes:
        try:
            if is_suite(name):
                suite = named_suite([name])
                choose_recipes(suite, given.overrides)
                print(f"{name}: valid (a suite of {', '.join(entry.label for entry in suite.entries)})")
                continue
            if is_pretraining(name):
                pretraining = load_pretraining(name, given.overrides)
                print(f"{name}: valid (a pre-training of {counted(pretraining.steps, 'update')})")
                if options.show:
                    print(in_yaml(pretraining))
                continue
            recipe = load_recipe(name, given.overrides)
            find_card(recipe.corpus.name)
            family_of(recipe)
        except UserError as error:
            faults.append(str(error))
            continue
        print(f"{name}: valid ({recipe.task}, {recipe.protocol}, version {recipe.version})")
        if options.show:
            print(in_yaml(recipe))
    return faults


def in_yaml(recipe: BaseModel) -> str:
    """Return all settings of a recipe as YAML."""
    import yaml

    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text
