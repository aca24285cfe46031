"""The scores of a model card: read from the records of runs, and compared with its baselines on the same items."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import downstream
from downstream import Result, read_result

MODEL, FILTERBANK = "wavlm_tiny", "fbank_no_cmvn"
ALSO = {"wer": "cer"}  # a second metric: words come long after letters
Triple = tuple[float, float | None, float | None]  # value and both ends of its 95 % interval, as tables show them


def scores_below(folder: Path, other_trainings: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Return the scores of all recipes that have a record of the model below a folder, the newest of each.

    Runs belong together that have recipe, corpus and overrides in common. A baseline without a record is None.
    other_trainings: each is a folder with records of one more training of the same recipe, of another seed.
    """
    others = [newest(other, lambda _: "trained") for other in other_trainings]
    rows = []
    for asked, sides in newest(folder, side_of).items():
        if "trained" not in sides:
            continue
        primary = sides["trained"].primary.name
        for metric in filter(None, (primary, ALSO.get(primary))):
            again = [score_of(other[asked]["trained"], metric) for other in others if asked in other]
            rows.append(row_of(sides, metric) | {"other_trainings": again})
    return rows


def side_of(result: Result) -> str | None:
    """Return whose record it is: the model's, that of its untrained self or of filterbanks; None for another's."""
    sides = {(MODEL, False): "trained", (MODEL, True): "untrained", (FILTERBANK, False): FILTERBANK}
    return sides.get((result.upstream.name, result.upstream.random_init))


def newest(folder: Path, side: Callable[[Result], str | None]) -> dict[tuple[str, ...], dict[str, Result]]:
    """Return the newest record of every question below a folder, by what was asked, then by side."""
    found: dict[tuple[str, ...], dict[str, Result]] = {}
    for path in sorted(folder.rglob("result.json"), key=lambda path: path.stat().st_mtime):
        result = read_result(path)
        own = side(result)
        if own is not None:
            asked = (result.recipe.name, result.corpus.name, *result.recipe.overrides)
            found.setdefault(asked, {})[own] = result
    return found


def row_of(sides: dict[str, Result], name: str) -> dict[str, Any]:
    """Return the row of a recipe and a metric: the command, the scores of all sides, and the model's paired
    differences."""
    own = sides["trained"]
    overrides = "".join(f" -o {shlex.quote(one)}" for one in own.recipe.overrides)
    metric = own.metric_types[name]
    return {
        "task": f"`-d {own.recipe.name}{overrides}`, {own.corpus.title}",
        "score": f"{metric.title}, %" if metric.percent else metric.title,
        MODEL: score_of(own, name),
        **{side: score_of(sides[side], name) if side in sides else None for side in ("untrained", FILTERBANK)},
        **{f"over_{side}": over(own, sides.get(side), name) for side in ("untrained", FILTERBANK)},
        "layers": layers_of(own, name),
    }


def layers_of(result: Result, name: str) -> dict[str, float]:
    """Return the score of each single layer, by its number; empty where only a sum or a choice was scored."""
    scale = result.metric_types[name].scale
    single = (one for one in result.layers if isinstance(one.layer, int))
    return {str(one.layer): scaled(one.score(name).value, scale) for one in single}


def score_of(result: Result, name: str) -> Triple:
    """Return the score of the layer that is the result, in the unit of tables."""
    scale, one = result.metric_types[name].scale, result.layers[0].score(name)
    return scaled(one.value, scale), scaled(one.low, scale), scaled(one.high, scale)


def over(own: Result, other: Result | None, name: str) -> Triple | None:
    """Return how much the model's score exceeds a baseline's on the same items."""
    if other is None:
        return None
    (found,) = downstream.compare(own, other, metric=name, progress=False)
    low, high = found.difference.interval
    scale = found.metric.scale
    return scaled(found.difference.value, scale), scaled(low, scale), scaled(high, scale)


def scaled(value: float | None, scale: float) -> Any:
    """Return a number in the unit of tables, without digits that no test set tells apart; None for none."""
    return None if value is None or math.isnan(value) else round(scale * value, 2)
