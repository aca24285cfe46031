"""Heads of an earlier run that was told to learn the same and to test it otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from downstream.material import Material
from downstream.metrics import METRICS
from downstream.results import PointRecord, Result, read_result
from downstream.run_folder import head_name
from downstream.sweep import Point
from downstream.training.loop import Attempt
from upstream.errors import MendableError


@dataclass(frozen=True)
class Earlier:
    """A finished run, by its folder's name, and what it learned."""

    run: str
    attempts: list[Attempt]


def learned_before(folder: Path, learned: str, material: Material, select: str) -> Earlier | None:
    """What a finished run beside `folder` learned, if it is what `learned`, the digest of its question, asks for.

    Runs differ in folder and not in `learned` where only the way of testing differs: decoding, normalisation of scores.
    """
    for path in sorted(folder.parent.glob("*/result.json")):
        record = readable(path)
        if record is not None and record.learned == learned and (path.parent / "head.safetensors").is_file():
            return Earlier(path.parent.name, attempts_of(record, path.parent, material, select))
    return None


def readable(path: Path) -> Result | None:
    """The record at `path`; None for one of another version, which says nothing about this question."""
    try:
        return read_result(path)
    except MendableError:
        return None


def attempts_of(record: Result, folder: Path, material: Material, select: str) -> list[Attempt]:
    """Everything that a run learned; weights are there of what was chosen, and nothing else is asked for them."""
    tensors = load_file(folder / "head.safetensors")
    folds = [fold.name for fold in material.split.folds]
    attempts = []
    for point in record.grid:
        attempt = attempt_of(point, folds.index(point.fold), METRICS[select].sign)
        prefix = f"{head_name(attempt, material)}."
        if point.chosen:
            attempt.weights = {
                name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
            }
        attempts.append(attempt)
    return attempts


def attempt_of(point: PointRecord, fold: int, sign: int) -> Attempt:
    """A point as it was learned, without its weights; sign: what makes the development score the better the higher."""
    return Attempt(
        fold=fold,
        point=Point(point.lr, point.seed, point.layer),
        step=point.step,
        development=-math.inf if point.development is None else sign * point.development,
        history=[
            (step, math.nan if loss is None else loss, -math.inf if score is None else sign * score)
            for step, loss, score in point.curve
        ],
        diverged=point.diverged,
    )
