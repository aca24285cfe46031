"""Published scores, for comparison with a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from downstream.data import read_table
from downstream.recipes import shipped
from upstream.errors import UserError

SUPERB_SCORES = shipped("results/reference") / "superb.csv"

Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class ReferenceScore:
    """One published score: one cell of one table.

    upstream: its name in this harness where it has one, a plain name such as "apc" otherwise.
    task: the recipe that reproduces the task where there is one, "superb/" and SUPERB's abbreviation otherwise.
    metric: its name in this harness where it has one; "wer_with_lm" is the WER of decoding with a language model.
    value: the printed number.
    unit: what the printed value is in; `percent` is the same in one unit for both.
    source: citation and address of the table.
    verified: whether the value was compared with a copy of the table; False where it is quoted from memory.
    note: method of the comparison, and caveats.
    """

    upstream: Text
    task: Text
    metric: Text
    value: FiniteFloat
    unit: Literal["percent", "fraction"]
    higher_is_better: bool
    source: Text
    verified: bool
    note: str

    @property
    def percent(self) -> float:
        """The value in percent, whatever the table prints."""
        return self.value if self.unit == "percent" else 100 * self.value

    @property
    def table(self) -> str:
        """The table that it stands in, without its address: "Chen et al. 2021: WavLM, preprint of October 2021"."""
        return self.source.partition(" (http")[0].rpartition(", ")[0]


COLUMNS = [field.name for field in fields(ReferenceScore)]
ROW = TypeAdapter(ReferenceScore)


def read_reference_scores(path: Path = SUPERB_SCORES) -> list[ReferenceScore]:
    """Return the scores of a CSV file with the columns of `ReferenceScore`, in its order.

    Raises UserError where the file is missing or has other columns, a cell cannot be read, or a source gives
    the same score twice.
    """
    if not path.is_file():
        raise UserError(f"There are no reference scores at {path}; restore results/reference from the repository.")
    table = read_table(path, lambda columns: check_columns(columns, path))
    scores = [read_row(place, row) for place, row in table.rows]
    refuse_repeated(path, scores)
    return scores


def check_columns(columns: list[str], path: Path) -> None:
    """Raise UserError for other columns than those of `ReferenceScore`."""
    if columns != COLUMNS:
        raise UserError(f"{path} begins with {','.join(columns)!r}; its first line must be {','.join(COLUMNS)}.")


def read_row(place: str, row: Mapping[str, str]) -> ReferenceScore:
    """Return the score in one line of the file; raise UserError, naming the place, where it has none."""
    try:
        return ROW.validate_python(row)
    except ValidationError as error:
        fault = error.errors()[0]
        column = fault["loc"][0]
        raise UserError(f"{place} has {fault['input']!r} as {column}: {fault['msg']}. Fix the cell.") from error


def refuse_repeated(path: Path, scores: list[ReferenceScore]) -> None:
    """Raise UserError where one source gives one score more than once."""
    seen = set()
    for score in scores:
        cell = (score.upstream, score.task, score.metric, score.source)
        if cell in seen:
            raise UserError(
                f"{path} gives {score.metric} of {score.upstream} on {score.task} from {score.source} twice; "
                "remove one of the lines."
            )
        seen.add(cell)


def published(recipe: str, upstream: str) -> list[ReferenceScore]:
    """Return the published scores of an upstream on a recipe's task, both by their names here; empty without."""
    return [score for score in read_reference_scores() if (score.task, score.upstream) == (recipe, upstream)]
