"""Tables of a probe: a row for each upstream, recipe and layer, as a DataFrame and a CSV file have them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from downstream.probing.probed import Probed
from downstream.report import LayerCurve, choices, has_learned_sum, learned_weights, mean_development, shares_of
from downstream.results import Result

if TYPE_CHECKING:
    import pandas

# Values, ends of intervals and development scores are as in records: shares from 0 to 1, not percent.
SCORES = {
    "recipe": "name",
    "version": "of the recipe",
    "corpus": "name",
    "upstream": "name",
    "untrained": "True where the upstream itself has untrained weights",
    "layer": "number; mix: all layers; best: the one that development chose on each fold and seed",
    "depth": "of the layer, from 0, the input of the first block, to 1, the last one",
    "part": "of the test",
    "metric": "name",
    "higher_is_better": "of the metric",
    "value": "mean over folds and seeds",
    "low": "lower end of the 95 % interval",
    "high": "upper end of the 95 % interval",
    "interval": "how it was found, or why there is none",
    "deviation": "standard deviation over seeds, n - 1 in the denominator",
    "chance": "level",
    "control": "value of the untrained control",
    "control_low": "lower end of its interval",
    "control_high": "upper end of its interval",
    "development": "score that chooses, mean over folds and seeds",
    "preferred": "share of folds and seeds in which development prefers this single layer",
    "is_primary": "True for the metric and part of the leaderboard",
    "caveats": "number of them in the record",
    "record": "folder of the run",
    "control_record": "folder of the control's run",
}  # behind them a column seed_N for each seed: the value, mean over folds

WEIGHTS = {
    "recipe": "name",
    "corpus": "name",
    "upstream": "name",
    "untrained": "True where the upstream itself has untrained weights",
    "layer": "number",
    "depth": "of the layer, from 0 to 1",
    "weight": "of the layer in the sum, mean over folds and seeds",
    "deviation": "standard deviation over folds and seeds, n - 1 in the denominator",
    "norm": "mean norm of the layer's states",
    "share": "weight times norm, as a share of all such products",
    "record": "folder of the run",
}


def scores(probed: Sequence[Probed], results: Path) -> pandas.DataFrame:
    """Return a row for each upstream, recipe, layer setting, test part and metric; columns: SCORES, then seeds.

    results: the folder below which records lie, to which their paths are relative.
    """
    import pandas

    rows = [row for one in probed for row in score_rows(one, results)]
    seeds = sorted({seed for row in rows for seed in row["by_seed"]})
    for row in rows:
        by_seed = row.pop("by_seed")
        row |= {f"seed_{seed}": by_seed.get(seed) for seed in seeds}
    return pandas.DataFrame(rows, columns=[*SCORES, *(f"seed_{seed}" for seed in seeds)])


def score_rows(one: Probed, results: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one upstream and recipe, with the values of the seeds under `by_seed`."""
    result, control = one.result, one.control
    development, preferred = mean_development(result), choices(result)
    for setting in (layer.layer for layer in result.layers):
        single = setting if isinstance(setting, int) else None
        for score in next(layer.scores for layer in result.layers if layer.layer == setting):
            beside = None if control is None else LayerCurve.of(control, score.metric, score.part).scores.get(setting)
            yield {
                "recipe": result.recipe.name,
                "version": result.recipe.version,
                "corpus": result.corpus.name,
                "upstream": result.upstream.name,
                "untrained": result.upstream.random_init,
                "layer": "mix" if setting is None else setting,
                "depth": None if single is None else depth(single, result.upstream.layers),
                "part": score.part,
                "metric": score.metric,
                "higher_is_better": result.metric_types[score.metric].higher_is_better,
                "value": score.value,
                "low": score.low,
                "high": score.high,
                "interval": score.interval,
                "by_seed": score.by_seed,
                "deviation": deviation(list(score.by_seed.values())),
                "chance": score.chance,
                "control": beside and beside.value,
                "control_low": beside and beside.low,
                "control_high": beside and beside.high,
                "development": development.get(setting),
                "preferred": None if single is None else preferred.get(single, 0) / sum(preferred.values()),
                "is_primary": (score.metric, score.part) == (result.primary.name, result.primary.part),
                "caveats": len(result.caveats),
                "record": place(result, results),
                "control_record": control and place(control, results),
            }


def weights(probed: Sequence[Probed], results: Path) -> pandas.DataFrame:
    """Return a row for each upstream, recipe and layer where heads learned the weights of a sum; as `scores`."""
    import pandas

    return pandas.DataFrame([row for one in probed for row in weight_rows(one, results)], columns=list(WEIGHTS))


def weight_rows(one: Probed, results: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one upstream and recipe; none where no weights were learned."""
    result = one.result
    if not has_learned_sum(result):
        return
    learned, shares = learned_weights(result), shares_of(result)
    for layer in range(result.upstream.layers):
        yield {
            "recipe": result.recipe.name,
            "corpus": result.corpus.name,
            "upstream": result.upstream.name,
            "untrained": result.upstream.random_init,
            "layer": layer,
            "depth": depth(layer, result.upstream.layers),
            "weight": float(learned[:, layer].mean()),
            "deviation": deviation(learned[:, layer].tolist()),
            "norm": result.layer_norms and result.layer_norms[layer],
            "share": None if shares is None else float(shares[layer]),
            "record": place(result, results),
        }


def place(result: Result, results: Path) -> str:
    """Return the folder of a record relative to that of results; nobody else needs to know where that lies."""
    assert result.folder is not None  # every run was recorded
    return Path(os.path.relpath(result.folder, results)).as_posix()


def depth(layer: int, count: int) -> float:
    """Return the relative depth of a layer, from 0 to 1; an upstream of one layer has depth 0."""
    return layer / max(1, count - 1)


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation, None of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
