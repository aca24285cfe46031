"""The files of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.leaderboards.board import Board, board_of
from downstream.leaderboards.csv_table import csv_of
from downstream.leaderboards.gathering import gathered
from downstream.leaderboards.markdown import markdown_of
from downstream.leaderboards.web_page import page_of
from upstream.errors import UserError
from upstream.files import write_atomically

NAME = "leaderboard"


@dataclass(frozen=True)
class Written:
    """A leaderboard that was written: its tables, and its files."""

    board: Board
    page: Path
    markdown: Path
    csv: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All files: the page, the Markdown and the CSV."""
        return self.page, self.markdown, self.csv


def write_leaderboard(
    folders: Sequence[str | Path] | str | Path,
    to: str | Path,
    title: str | None = None,
    families: Sequence[str] = (),
) -> Written:
    """Write the leaderboard of all records below some folders: leaderboard.html, leaderboard.md and leaderboard.csv.

    folders: of records, of one's own or of others, those that are trusted most first; or one of them. to: folder of
        the three files, made where it is missing. title: heading of the page. families: "module.py:Family" of external
        families whose code is trusted.

    A record that contradicts itself, its files or an earlier record is refused: it is left out of the tables and listed
    below them (`Written.board.refused`).

    Raises UserError for a folder that does not exist, and where the files cannot be written.
    """
    named = [folders] if isinstance(folders, str | Path) else list(folders)
    board = board_of(gathered(named, families))
    place = Path(to)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {place}: {error.strerror}. Choose another one with --to.") from error
    written = Written(board, *(place / f"{NAME}.{ending}" for ending in ("html", "md", "csv")))
    heading = title or "Leaderboard"
    for path, text in zip(
        written.files, (page_of(board, heading), markdown_of(board, heading), csv_of(board)), strict=True
    ):
        write_atomically(path, text.encode())
    return written
