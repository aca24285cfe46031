"""The console and the style of tables, on a terminal and in a file or pipe."""

from __future__ import annotations

import sys

import rich.console
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

REDIRECTED_WIDTH = 120  # columns of tables in a file or a pipe, which has no width


class Console(rich.console.Console):
    """A console that leaves it to the command what a reader who has read enough means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Return a console on standard output."""
    return Console(width=None if sys.stdout.isatty() else REDIRECTED_WIDTH)


def plain_table(*columns: Column | str, title: str | None = None) -> Table:
    """Return a table whose only line is the one below its header."""
    return Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
