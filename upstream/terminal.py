"""How tables look on the terminal, and in a file or a pipe."""

from __future__ import annotations

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

REDIRECTED_WIDTH = 120  # columns of tables in a file or a pipe, which have no width of their own


def console() -> Console:
    """The standard output."""
    return Console(width=None if sys.stdout.isatty() else REDIRECTED_WIDTH)


def plain_table(*columns: Column | str, title: str | None = None) -> Table:
    """A table with no lines but one below its head."""
    return Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
