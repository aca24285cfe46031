"""`wavprobe leaderboard`: a page, Markdown and CSV made of records and published scores."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from downstream.cli.family_argument import add_families
from upstream.arguments import folder
from upstream.command_line import USER_ERROR, add_verbose
from upstream.text import counted, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folders of records, and that of the leaderboard."""
    add = parser.add_argument
    add(
        "folders",
        nargs="*",
        type=folder,
        metavar="FOLDER",
        help="folder of records, one's own or another's, or a record (default results)",
    )
    add("--to", type=folder, default=Path("leaderboard"), metavar="DIR", help="of the files (default leaderboard)")
    add_families(parser)
    add("--title", help="heading of the page (default Leaderboard)")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Write the files and print their names; the exit status is 2 where a record was refused."""
    from downstream.leaderboards import unread, write_leaderboard

    written = write_leaderboard(options.folders or [Path("results")], options.to, options.title, options.family)
    board = written.board
    copies = f", {counted(board.copies, 'copy', 'copies')} left out" if board.copies else ""
    print(f"records   {len(board.records)}{copies}")
    for section in board.sections:
        if section.was_run:
            columns = [column for column in section.columns if column.question is not None]
            scores = sum(len(section.of_column(column)) for column in columns)
            print(f"{section.protocol:<9} {counted(scores, 'score')} in {counted(len(columns), 'column')}")
    if not board.records:
        print("note      No records were found; the page has published scores alone.")
    for name, path in zip(("page", "markdown", "csv"), written.files, strict=True):
        print(f"{name:<10}{printable(str(path))}")
    for one in board.refused:
        print(f"wavprobe leaderboard: refused: {unread(one)}", file=sys.stderr)
    return USER_ERROR if board.refused else 0
