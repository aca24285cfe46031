"""The folder of a run: its name, its beginning, and what interrupted runs left there."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from pathlib import Path

import yaml

from downstream.data import Dataset
from downstream.recipes import Options, Recipe, SweepSettings
from downstream.results.anonymous import Anonymous
from downstream.results.question import Question
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.unfinished import remove_leftovers

logger = logging.getLogger("wavprobe")

RECORD = "result.json"
SNAPSHOT = "snapshot"
EVENTS = "events"
LONGEST_NAME = 100  # characters of an upstream's folder; a file system takes 255 bytes


def run_folder(question: Question, upstream: Upstream, recipe: Recipe, dataset: Dataset, options: Options) -> Path:
    """Return results/<recipe>/<upstream>/<run>; the same question always has the same folder."""
    name = upstream_folder(upstream) + ("-untrained" if upstream.provenance.random_init else "")
    layer = "" if options.layer is None else f"-layer{options.layer}"
    learned = "sweep" if recipe.sweep != SweepSettings() else f"seed{options.seed}{layer}"
    return options.results / encodable(recipe.name) / name / f"{dataset.corpus.name}-{learned}-{question.asked[:8]}"


def upstream_folder(upstream: Upstream) -> str:
    """Return the folder of an upstream's runs: its name, or the end of an absolute path and a digest of its weights."""
    name = slug(upstream.name)
    if Anonymous().text(upstream.name) == upstream.name and len(name) <= LONGEST_NAME:
        return name
    end = slug(upstream.name.rstrip("/").rpartition("/")[2])[-LONGEST_NAME:]
    return f"{end}-{upstream.fingerprint[:8]}"


def unstored(folder: Path) -> Path:
    """Return the folder of a run for whose states the store had no room.

    States that are computed again and again are rounded otherwise than stored ones, so that its scores may differ.
    """
    return folder.with_name(f"{folder.name}-unstored")


def discard(folder: Path) -> None:
    """Remove all that earlier runs left in a folder; raise UserError where that is not permitted."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise UserError(f"Cannot remove {folder}: {error.strerror}. Check its permissions.") from error


def begin(folder: Path, recipe: Recipe, options: Options) -> None:
    """Make the folder of a run and write the recipe into it; raise UserError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot make the folder {folder}: {error.strerror}. Choose another place with --results."
        ) from error
    if (folder / RECORD).is_dir():
        raise UserError(f"{folder / RECORD} is a folder, where the record is written; move it away, or add --fresh.")
    remove_unfinished(folder)
    for pattern in ("", "*/"):  # of the store; a store of states tidies its own folder
        remove_leftovers(options.store, pattern)
    logger.info("record goes to %s", folder)
    content = Anonymous.of(options).recipe(recipe.model_dump(mode="json"), folder)
    write_atomically(folder / "recipe.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def remove_unfinished(folder: Path) -> None:
    """Remove files whose writing was interrupted; none that another process is writing."""
    for pattern in ("", f"{EVENTS}/*/"):
        remove_leftovers(folder, pattern)


def tidy(folder: Path) -> None:
    """Remove what a finished run has no more use for, as far as that is permitted."""
    remove_unfinished(folder)
    with contextlib.suppress(OSError):
        (folder / SNAPSHOT).unlink(missing_ok=True)  # what it held is in the heads and the record


# ---------------------------------------------------------------- names


def slug(name: str) -> str:
    """Return a name for a folder: all but letters, digits, dots, dashes and underscores become two underscores."""
    return encodable(re.sub(r"[^\w.-]+", "__", name.strip("/.")))


def encodable(name: str) -> str:
    """Return a name that this system's file names can hold: in a locale of ASCII, other letters become underscores."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return re.sub(r"[^\x00-\x7f]+", "__", name)
    return name
