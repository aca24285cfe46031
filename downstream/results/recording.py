"""The end of a run: its artifacts and its record, built in memory and then written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from downstream.results.artifacts import artifacts, events
from downstream.results.build import build_record
from downstream.results.folder import RECORD, SNAPSHOT
from downstream.results.integrity import digests
from downstream.results.record import Result, write_result
from downstream.results.run import Run
from upstream.errors import UserError, sentence, words_of
from upstream.files import write_atomically

logger = logging.getLogger("wavprobe")


class UnwrittenError(UserError):
    """A run whose record cannot be written; `result` has everything that was computed."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


def record_run(run: Run, folder: Path) -> Result:
    """Write the artifacts of a run and last its record, with the digests of the artifacts; return the record.

    Raises UnwrittenError where the disk is full, where the folder was removed, and where an artifact cannot be made.
    """
    result = build_record(run, folder)
    try:
        files = artifacts(run, result)
        result.artifacts = digests(files)
        write_files(folder, files | curves(run))
        write_result(folder / RECORD, result)
    except (UserError, OSError) as error:
        raise UnwrittenError(f"{sentence(error)} {what_is_left(folder, result)}", result) from error
    except Exception as error:  # of a family's own code, or of a library that draws
        fault = f"The files beside the record cannot be made ({words_of(error)})."
        raise UnwrittenError(f"{fault} {what_is_left(folder, result)}", result) from error
    return result


def curves(run: Run) -> dict[str, bytes]:
    """Return the files for TensorBoard; none, with a warning, where that cannot be imported beside other packages."""
    try:
        return events(run.scored, run.dataset, run.task, run.recipe.select)
    except Exception as error:  # protobuf raises a TypeError where its version does not fit
        logger.warning("There are no curves for TensorBoard (%s).", words_of(error))
        return {}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their names below `folder`."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)


def what_is_left(folder: Path, result: Result) -> str:
    """Return the score of a run that cannot be recorded, and what the same command will do."""
    primary, metric = result.primary, result.metric_types[result.primary.name]
    snapshot = folder / SNAPSHOT
    going_on = f"goes on from the training in {snapshot}" if snapshot.is_file() else "computes it again"
    return (
        f"The run was computed, and only its record is missing: {metric.title} {metric.written(primary.value)}"
        f"{metric.unit}. The same command {going_on}."
    )
