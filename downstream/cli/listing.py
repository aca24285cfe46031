"""`wavprobe list`: upstreams, recipes and corpora by name. Imports no heavy package."""

from __future__ import annotations

import argparse

from upstream.catalog import NAMED, OTHER_FORMS
from upstream.command_line import add_verbose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every verb."""
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    from rich.markup import escape
    from rich.table import Column, Table

    from downstream.data.corpora import describe
    from downstream.recipes import find_recipe, read_yaml, recipe_names
    from upstream.terminal import console

    shown = console()
    recipes = [read_yaml(find_recipe(name)) for name in recipe_names()]
    tables = (
        ("upstreams (-u)", ("name", "what"), [(e.name, e.title) for e in NAMED.values()] + list(OTHER_FORMS)),
        (
            "recipes (-d)",
            ("name", "what", "protocol", "corpus"),
            [(recipe["name"], recipe["title"], recipe["protocol"], recipe["corpus"]["name"]) for recipe in recipes],
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
        shown.print(table)
    return 0
