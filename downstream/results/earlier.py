"""What earlier runs left: a finished record, or heads with the same training and another test. All of it is checked."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from downstream.data import Dataset
from downstream.results.artifacts import fit_name
from downstream.results.folder import HEADS, RECORD
from downstream.results.integrity import altered, digests
from downstream.results.place import Place
from downstream.results.question import Question
from downstream.results.record import FIX, FitRecord, Result, read_result
from downstream.states import CachePlan
from downstream.tasks import Task
from downstream.training import Config, Fit, shapes_and_types, under
from upstream.errors import UserError

logger = logging.getLogger("wavprobe")


@dataclass(frozen=True)
class Earlier:
    """A finished run, by the name of its folder, and its fits."""

    run: str
    fits: list[Fit]


def finished(folder: Path, question: Question) -> Result | None:
    """Return the record of a finished run of this question; None where there is none.

    Where the record, or a file beside it, is not what the run wrote, a warning says so, and it counts as none.
    """
    path = folder / RECORD
    if not os.path.isfile(path):  # False for a name that no file can have, too, which `begin` refuses
        return None
    try:
        record = read_result(path)
        changed = altered(folder, record.artifacts)
    except (UserError, OSError) as error:
        logger.warning("%s The run is computed again.", str(error).removesuffix(FIX).rstrip())
        return None
    if not record.has_digest:
        doubt = f"{path} has no digest to check it by: an older version wrote it."
    elif record.learned != question.learned:
        doubt = f"{path} is the record of another run."
    elif changed:
        doubt = f"In {folder}, {', '.join(changed)} changed since the run wrote it."
    else:
        return record
    logger.warning("%s The run is computed again.", doubt)
    return None


def learned_before(
    folder: Path, place: Place, dataset: Dataset, task: Task, plan: CachePlan, sign: int
) -> Earlier | None:
    """Return the fits of another finished run whose question has the same `learned` digest, if there is one.

    folder: of this run, at its place, beside which the others are.

    Runs differ in folder and not in `learned` where only the test differs: decoding, normalisation of scores. Heads of
    another source of states (store or upstream) are left alone, and so are, with a warning, those that do not match
    their digest or do not fit the task.
    sign: of the development score, -1 where lower is better.
    """
    for path in records_in(place.beside):
        record = None if path.parent.resolve() == folder.resolve() else readable(path)
        if record is None or (record.learned, record.states.mode) != (place.question.learned, plan.mode):
            continue
        try:
            fits = fits_of(record, path.parent, dataset, sign)
            check_fits(fits, dataset, task)
        except (OSError, SafetensorError, LookupError, ValueError, TypeError) as error:
            logger.warning("The heads of %s are not used (%s); they are learned again.", path.parent, error)
        else:
            return Earlier(path.parent.name, fits)
    return None


def records_in(places: Sequence[Path]) -> Iterator[Path]:
    """Yield the records of the runs in some folders, of which some may not be there."""
    for folder in filter(os.path.isdir, places):
        yield from sorted(folder.glob(f"*/{RECORD}"))


def readable(path: Path) -> Result | None:
    """Return the record at `path`; None for one that cannot be read, or has no digest to check it by."""
    try:
        record = read_result(path)
    except UserError:
        return None
    return record if record.has_digest else None


def fits_of(record: Result, folder: Path, dataset: Dataset, sign: int) -> list[Fit]:
    """Return all fits of a run; only those that were chosen have weights, which is enough to test them.

    Raises ValueError, LookupError, OSError or SafetensorError where the heads are not those of the record.
    """
    content = (folder / HEADS).read_bytes()
    if digests({HEADS: content})[HEADS] != record.artifacts.get(HEADS):
        raise ValueError(f"{HEADS} changed since it was written")
    tensors = load(content)
    folds = [fold.name for fold in dataset.split.folds]
    fits = [fit_of(one, folds.index(one.fold), sign) for one in record.grid]
    by_config = {(fit.fold, fit.config): fit for fit in fits}
    for head in record.heads:
        fit = by_config[folds.index(head.fold), Config(head.lr, head.seed, head.layer)]
        fit.weights = under(tensors, f"{fit_name(fit, head.setting, dataset)}.")
        if not fit.weights:
            raise ValueError(f"{HEADS} has no weights of {fit_name(fit, head.setting, dataset)}")
    return fits


def check_fits(fits: list[Fit], dataset: Dataset, task: Task) -> None:
    """Raise ValueError unless the weights of the chosen fits have the names, shapes and types of the task's heads."""
    for fit in fits:
        if fit.weights:
            head = task.of_fold(dataset.split.folds[fit.fold].train).build(fit.config.seed, fit.config.layer)
            if shapes_and_types(fit.weights) != shapes_and_types(head.state_dict()):
                raise ValueError("their tensors are not those of this task's heads")


def fit_of(record: FitRecord, fold: int, sign: int) -> Fit:
    """Return a fit without its weights."""
    return Fit(
        fold=fold,
        config=Config(record.lr, record.seed, record.layer),
        step=record.step,
        development=-math.inf if record.development is None else sign * record.development,
        history=[
            (step, math.nan if loss is None else loss, -math.inf if score is None else sign * score)
            for step, loss, score in record.curve
        ],
        diverged=record.diverged,
    )
