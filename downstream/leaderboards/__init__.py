"""A leaderboard made of files: records of runs and published scores, as a page, as Markdown and as CSV."""

from downstream.leaderboards.board import Board, board_of
from downstream.leaderboards.gathering import Found, Gathered, LeftOut, gathered
from downstream.leaderboards.words import unread
from downstream.leaderboards.writing import Written, write_leaderboard

__all__ = ["Board", "Found", "Gathered", "LeftOut", "Written", "board_of", "gathered", "unread", "write_leaderboard"]
