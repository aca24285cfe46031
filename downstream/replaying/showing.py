"""A replay on the terminal: what went in otherwise, all that came out, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from downstream.replaying.comparison import Line
from downstream.replaying.replay import Replay
from upstream.terminal import plain_table


def show(replay: Replay, console: Console) -> None:
    """Print both tables and the verdict."""
    comparison = replay.comparison
    same = [line.what for line in comparison.inputs if line.same]
    others = [line for line in comparison.inputs if not line.same]
    console.print(Text(f"the same  {', '.join(same) or 'nothing of what went in'}"))
    if others:
        console.print(table_of("what went in otherwise", others))
    console.print(table_of("what came out", comparison.outcomes))
    console.print(Text(comparison.verdict))
    console.print(Text(f"again     {replay.again.folder}"))
    if replay.was_finished:
        console.print(Text("It was computed by an earlier replay; add --fresh to compute it again."))


def table_of(title: str, lines: Iterable[Line]) -> Table:
    """Return a table of what was compared."""
    table = plain_table("", "record", "again", "", title=title)
    for line in lines:
        mark = {True: "same", False: "differs", None: "not known"}[line.same]
        table.add_row(Text(line.what), Text(line.recorded), Text(line.again), Text(mark, "" if line.same else "bold"))
    return table
