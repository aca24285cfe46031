"""Records of many runs as one table."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downstream.results.folder import RECORD
from downstream.results.record import Result, read_result
from upstream.errors import UserError
from upstream.text import counted, printable

if TYPE_CHECKING:
    import pandas

SHOWN = 5  # names in a message
COLUMNS = (
    "recipe",
    "version",
    "protocol",
    "task",
    "corpus",
    "synthetic",
    "upstream",
    "random_init",
    "dtype",
    "layer",
    "part",
    "metric",
    "value",
    "low",
    "high",
    "chance",
    "higher_is_better",
    "seeds",
    "folds",
    "is_primary",
    "caveats",
    "folder",
)


def load_results(folder: str | Path = "results") -> pandas.DataFrame:
    """Return the scores of all records below a folder, one row a score.

    A score is one metric on one test part and one layer setting; `is_primary` marks the one of the leaderboard. Values,
    the ends `low` and `high` of their 95 % intervals, and `chance` are as in the record: shares from 0 to 1, not
    percent. `layer` is a number, "mix" for the weighted sum, or "best". The columns are `COLUMNS`.

    Raises UserError where the folder does not exist; warns of records that cannot be read, and leaves them out.
    """
    import pandas

    place = Path(folder)
    if not place.is_dir():
        raise UserError(f"There is no folder {place}; give the folder that runs wrote with --results.")
    rows: list[dict[str, Any]] = []
    for path in sorted(place.rglob(RECORD)):
        try:
            rows += rows_of(read_result(path))
        except UserError as error:
            warnings.warn(str(error), stacklevel=2)
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def rows_of(result: Result) -> Iterator[dict[str, Any]]:
    """Yield a row for each score of a record."""
    for layer in result.layers:
        for score in layer.scores:
            yield {
                "recipe": result.recipe.name,
                "version": result.recipe.version,
                "protocol": result.recipe.protocol,
                "task": result.task,
                "corpus": result.corpus.name,
                "synthetic": result.corpus.synthetic,
                "upstream": result.upstream.name,
                "random_init": result.upstream.random_init,
                "dtype": result.upstream.dtype,
                "layer": "mix" if layer.layer is None else layer.layer,
                "part": score.part,
                "metric": score.metric,
                "value": score.value,
                "low": score.low,
                "high": score.high,
                "chance": score.chance,
                "higher_is_better": result.metric_types[score.metric].higher_is_better,
                "seeds": len(score.by_seed),
                "folds": len(result.folds),
                "is_primary": layer is result.layers[0]
                and (score.metric, score.part) == (result.primary.name, result.primary.part),
                "caveats": len(result.caveats),
                "folder": str(result.folder),
            }


# ---------------------------------------------------------------- one record


def record_path(named: str | Path, instead: str = "") -> Path:
    """Return the path of a run's record, which a user names by its folder or itself.

    instead: what else may be named, for the message: "or a file of heads". Raises UserError where there is no record.
    """
    path = Path(os.path.expanduser(named))
    folder = path.parent if path.name == RECORD else path
    if not (folder / RECORD).is_file():
        raise UserError(no_run(folder, instead))
    return folder / RECORD


def no_run(folder: Path, instead: str) -> str:
    """Return the message for a folder that is no run's, with the runs below it."""
    if not folder.exists():
        either = f"its {RECORD}, {instead}" if instead else f"or its {RECORD}"
        return f"There is no folder or file {folder}; name a run's folder, {either}."
    if not folder.is_dir():
        return f"{folder} is neither a run's {RECORD} nor {instead.removeprefix('or ') or 'its folder'}."
    runs = sorted(str(path.parent) for path in folder.rglob(RECORD))
    if not runs:
        return f"{folder} has no {RECORD}: no run has finished there. Name the folder of a run."
    more = " …" if len(runs) > SHOWN else ""
    return f"{folder} holds {counted(len(runs), 'run')}; name one: {printable(', '.join(runs[:SHOWN]))}{more}."
