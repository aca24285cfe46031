"""The folder of a run: its beginning, and what interrupted runs left there."""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

import yaml

from downstream.recipes import Options, Recipe
from downstream.results.anonymous import Anonymous
from downstream.results.record import read_result
from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.unfinished import remove_leftovers

logger = logging.getLogger("wavprobe")

RECORD = "result.json"
HEADS = "head.safetensors"
SNAPSHOT = "snapshot"
EVENTS = "events"
ENCODERS = "encoders"  # fine-tuned ones, a folder each
LEARNED = "learned"  # of a run that is not recorded yet, heads whose encoders are finished
RECIPE = "recipe.yaml"
QUESTION = "question.json"  # which run a named folder holds, since its name does not say so


def discard(folder: Path, is_named: bool) -> None:
    """Remove what earlier runs left; raise UserError where that is not permitted.

    Of a folder that the user named only what a run wrote: who knows what else was put there since.
    """
    try:
        if not is_named and folder.exists():
            shutil.rmtree(folder)
        for path in own_files(folder) if is_named else ():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"Cannot remove {folder}: {error.strerror}. Check its permissions.") from error


def own_files(folder: Path) -> list[Path]:
    """Return the files and folders that a run wrote, the record last."""
    artifacts: list[str] = []
    with contextlib.suppress(UserError):  # without a record that can be read, its files are overwritten one by one
        artifacts = list(read_result(folder / RECORD).artifacts)
    return [folder / name for name in (*artifacts, EVENTS, ENCODERS, LEARNED, SNAPSHOT, RECIPE, QUESTION, RECORD)]


def begin(folder: Path, recipe: Recipe, options: Options) -> None:
    """Write the recipe of a run into its folder, and remove what was left half written; raise UserError if not."""
    if (folder / RECORD).is_dir():
        raise UserError(f"{folder / RECORD} is a folder, where the record is written; move it away, or add --fresh.")
    remove_unfinished(folder)
    for pattern in ("", "*/"):  # of the store; a store of states tidies its own folder
        remove_leftovers(options.store, pattern)
    logger.info("record goes to %s", folder)
    content = Anonymous.of(options).recipe(recipe.model_dump(mode="json"), folder)
    write_atomically(folder / RECIPE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def remove_unfinished(folder: Path) -> None:
    """Remove files whose writing was interrupted; none that another process is writing."""
    for pattern in ("", f"{EVENTS}/*/", f"{ENCODERS}/", f"{LEARNED}/"):
        remove_leftovers(folder, pattern)


def tidy(folder: Path) -> None:
    """Remove what a finished run has no more use for, as far as that is permitted."""
    remove_unfinished(folder)
    with contextlib.suppress(OSError):
        (folder / SNAPSHOT).unlink(missing_ok=True)  # what it held is in the heads and the record
    shutil.rmtree(folder / LEARNED, ignore_errors=True)
