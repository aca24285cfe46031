"""SUPERB's overall score: the mean over tasks of how far an upstream has come from FBANK to the best known value.

superb_s(u) = 1000 / |T| · Σ_t 1 / |M_t| · Σ_{m in M_t} (s_tm(u) − s_tm(FBANK)) / (s_tm(SOTA) − s_tm(FBANK)), with tasks
T and the metrics M_t of each (slot filling has two); metrics that fall need no other sign. It moves whenever the best
value of a task does, so that only scores made with one SOTA row can be compared, and it is undefined without a task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from downstream.report.comparable import why_incomparable
from downstream.report.published import ReferenceScore
from downstream.results import Result
from downstream.tasks import find_family, is_external

BASELINE = "fbank"

Cell = tuple[str, str]  # a task and a metric, by their names in tables of published scores


@dataclass(frozen=True)
class Overall:
    """An overall score.

    value: None where a task is missing. missing: those tasks. sota: the published score of each cell that is the best.
    table: that the SOTA row and FBANK's were taken from.
    """

    value: float | None
    missing: tuple[str, ...]
    sota: Mapping[Cell, ReferenceScore]
    table: str

    @property
    def sentence(self) -> str:
        """The score, or why there is none, and the SOTA row that it depends on."""
        if self.value is None:
            return f"undefined: there is no score of {', '.join(self.missing)}, and it needs every task."
        best = ", ".join(
            f"{task.removeprefix('superb/')} {metric} {score.value:g} ({score.upstream})"
            for (task, metric), score in self.sota.items()
        )
        return f"{self.value:.1f}, with the best of {self.table} as SOTA row: {best}."


def overall_score(own: Mapping[Cell, float], scores: Sequence[ReferenceScore]) -> Overall:
    """Return the overall score of an upstream's scores.

    own: values in percent. scores: published ones; those of the first table that has FBANK's whole row count, which
        names the tasks and holds FBANK's values and the best of each column.
    """
    table = next(score.table for score in scores if score.upstream == BASELINE)
    rows = [score for score in scores if score.table == table]
    cells = list(dict.fromkeys((score.task, score.metric) for score in rows))
    sota = {cell: best_of(score for score in rows if (score.task, score.metric) == cell) for cell in cells}
    missing = tuple(dict.fromkeys(task for task, metric in cells if (task, metric) not in own))
    if missing:
        return Overall(None, missing, sota, table)
    base = {(score.task, score.metric): score.percent for score in rows if score.upstream == BASELINE}
    gained: dict[str, list[float]] = {}
    for cell in cells:
        gained.setdefault(cell[0], []).append((own[cell] - base[cell]) / (sota[cell].percent - base[cell]))
    return Overall(1000 * float(np.mean([np.mean(of_task) for of_task in gained.values()])), (), sota, table)


def best_of(scores: Iterable[ReferenceScore]) -> ReferenceScore:
    """Return the best of some scores of one metric, the first one of equals."""
    return max(scores, key=lambda score: score.value if score.higher_is_better else -score.value)


def cells_of(results: Iterable[Result]) -> dict[Cell, float]:
    """Return the scores of results that followed the protocol, in percent, by task and published metric."""
    cells = {}
    for result in results:
        if is_external(result.task) or why_incomparable(result) is not None:
            continue
        named = find_family(result.task).published_as
        for metric, value in result.metrics.items():
            cells[result.recipe.name, named(metric, result.recipe.resolved)] = 100 * value
    return cells
