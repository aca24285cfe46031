"""Heads of an earlier run with the same training and another test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from downstream.data import Dataset
from downstream.results.folder import HEADS, RECORD, head_name
from downstream.results.record import FitRecord, Result, read_result
from downstream.training import Config, Fit, under
from upstream.errors import UserError


@dataclass(frozen=True)
class Earlier:
    """A finished run, by the name of its folder, and its fits."""

    run: str
    fits: list[Fit]


def learned_before(folder: Path, learned: str, dataset: Dataset, sign: int) -> Earlier | None:
    """Return the fits of a finished run beside `folder` whose question has the same `learned` digest, if there is one.

    Runs differ in folder and not in `learned` where only the test differs: decoding, normalisation of scores.
    sign: of the development score, -1 where lower is better.
    """
    for path in sorted(folder.parent.glob(f"*/{RECORD}")):
        record = readable(path)
        if record is not None and record.learned == learned and (path.parent / HEADS).is_file():
            return Earlier(path.parent.name, fits_of(record, path.parent, dataset, sign))
    return None


def readable(path: Path) -> Result | None:
    """Return the record at `path`; None for one of a version that cannot be read."""
    try:
        return read_result(path)
    except UserError:
        return None


def fits_of(record: Result, folder: Path, dataset: Dataset, sign: int) -> list[Fit]:
    """Return all fits of a run; only those that were chosen have weights, which is enough to test them."""
    tensors = load_file(folder / HEADS)
    folds = [fold.name for fold in dataset.split.folds]
    fits = [fit_of(one, folds.index(one.fold), sign) for one in record.grid]
    by_config = {(fit.fold, fit.config): fit for fit in fits}
    for head in record.heads:
        fit = by_config[folds.index(head.fold), Config(head.lr, head.seed, head.layer)]
        fit.weights = under(tensors, f"{head_name(fit, head.setting, dataset)}.")
    return fits


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
