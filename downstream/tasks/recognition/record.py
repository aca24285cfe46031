"""Recognition's part of a record, and its tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field
from rich.table import Table

from upstream.terminal import plain_table


class ErrorDetails(BaseModel):
    """Word errors of a test."""

    substitutions: int
    deletions: int
    insertions: int
    reference_length: int = Field(description="words of the references")


class RecognitionDetails(BaseModel):
    """Fields of the record of a head."""

    errors: ErrorDetails


def error_table(errors: Sequence[ErrorDetails]) -> Table:
    """Return the kinds of word errors of all heads together, in percent of the reference's words."""
    words = sum(one.reference_length for one in errors)
    table = plain_table(title="word errors")
    for heading in ("", "count", "% of words"):
        table.add_column(heading, justify="right" if heading else "left")
    for kind in ("substitutions", "deletions", "insertions"):
        count = sum(getattr(one, kind) for one in errors)
        table.add_row(kind, f"{count:,}", f"{100 * count / words:.2f}" if words else "-")
    table.add_row("words of the references", f"{words:,}", "")
    return table
