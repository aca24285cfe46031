"""`wavprobe list`: upstreams, recipes and corpora by name. Imports no heavy package."""

from __future__ import annotations

import argparse
from itertools import groupby

from upstream.catalog import NAMED, OTHER_FORMS
from upstream.command_line import add_verbose
from upstream.request import NamedUpstream

BETWEEN_FAMILIES = ("",)  # a line in place of a row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every verb."""
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    from rich.markup import escape
    from rich.table import Column, Table

    from downstream.data.corpora import describe
    from upstream.terminal import console

    shown = console()
    tables = (
        ("upstreams (-u)", ("name", "what"), upstream_rows()),
        ("recipes (-d)", ("name", "what", "protocol", "corpus"), recipe_rows()),
        ("suites (-d)", ("name", "what", "recipes"), suite_rows()),
        ("pre-trainings (wavprobe pretrain)", ("name", "what", "speech"), pretraining_rows()),
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
            if row == BETWEEN_FAMILIES:
                table.add_section()
            else:
                table.add_row(*(escape(cell) for cell in row))
        shown.print(table)
    return 0


def upstream_rows() -> list[tuple[str, ...]]:
    """Return the lines of the table of upstreams, by families: name, and what it is, with other names in brackets."""
    rows: list[tuple[str, ...]] = []
    for _, family in groupby(NAMED.values(), lambda row: row.family):
        rows += [(row.name, what_of(row)) for row in family]
        rows.append(BETWEEN_FAMILIES)
    return rows + list(OTHER_FORMS)


def what_of(row: NamedUpstream) -> str:
    """Return what a named upstream is, its repository on the hub, its licence, and its other names."""
    also = f" [also {', '.join(row.aliases)}]" if row.aliases else ""
    return "; ".join(part for part in (row.description, row.repository, row.licence) if part) + also


def recipe_rows() -> list[tuple[str, ...]]:
    """Return the lines of the table of recipes, with s3prl's names in brackets."""
    from downstream.recipes import find_recipe, names_in_s3prl, read_yaml, recipe_names

    rows: list[tuple[str, ...]] = []
    for name in recipe_names():
        recipe, others = read_yaml(find_recipe(name)), names_in_s3prl(name)
        also = f" [also {', '.join(others)}]" if others else ""
        rows.append((name, f"{recipe['title']}{also}", recipe["protocol"], recipe["corpus"]["name"]))
    return rows


def pretraining_rows() -> list[tuple[str, ...]]:
    """Return the lines of the table of pre-trainings, with the names of their speech."""
    from downstream.recipes import find_pretraining, pretraining_names, read_yaml

    contents = {name: read_yaml(find_pretraining(name)) for name in pretraining_names()}
    return [
        (name, content["title"], ", ".join(one.get("name") or one["corpus"] for one in content["speech"]))
        for name, content in contents.items()
    ]


def suite_rows() -> list[tuple[str, ...]]:
    """Return the lines of the table of suites."""
    from downstream.recipes import find_suite, read_yaml, suite_names

    files = {name: find_suite(name) for name in suite_names()}
    contents = {name: read_yaml(path) for name, path in files.items() if path is not None}
    return [(name, content["title"], ", ".join(content["recipes"])) for name, content in contents.items()]
