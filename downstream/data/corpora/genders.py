"""Genders of speakers, as tables and manifests write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.data.corpora.csv_table import read_table
from upstream.errors import UserError

GENDERS = {"f": "female", "female": "female", "m": "male", "male": "male"}


def gender_of(cell: str | None) -> str | None:
    """ "female" or "male" from a cell such as "F" or "male"; None for anything else."""
    return GENDERS.get((cell or "").strip().lower())


def genders_in(path: Path, speaker: str, gender: str) -> dict[str, str]:
    """Gender of each speaker from a table that a corpus ships; empty if there is no table.

    speaker, gender: names of the columns. Raises UserError for a table without them.
    """
    if not path.is_file():
        return {}

    def check_columns(columns: Sequence[str]) -> None:
        if not {speaker, gender} <= set(columns):
            raise UserError(f"{path} has no columns {speaker} and {gender}; fetch it again or remove it.")

    rows = [row for _, row in read_table(path, check_columns, tolerant=True).rows]
    told = {row[speaker]: gender_of(row[gender]) for row in rows}
    return {name: known for name, known in told.items() if known is not None}
