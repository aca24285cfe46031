"""Chosen heads to scores: the test set is looked at here, once for every fold, seed and layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from downstream.material import Material
from downstream.metrics import METRICS
from downstream.results import FoldRecord, HeadRecord, LayerScore, PointRecord
from downstream.scoring.base import Evaluation, Scorer
from downstream.states import Means, StateSource, move
from downstream.sweep import distinct
from downstream.tasks.base import Head, Task
from downstream.training.loop import Attempt

TESTED_AT_ONCE = 8  # utterances whose states are held at a time: 0.6 GB of half a minute each, of Base in float32


@dataclass(frozen=True)
class ScoredHead:
    """A chosen head, and what the fold's test says of it."""

    attempt: Attempt
    head: Head
    evaluation: Evaluation

    @property
    def layer(self) -> int | None:
        return self.attempt.point.layer


@torch.no_grad()
def score_heads(
    chosen: Sequence[Attempt],
    material: Material,
    task: Task,
    scorer: Scorer,
    source: StateSource,
    device: torch.device | None = None,
) -> list[ScoredHead]:
    """Let every chosen head hear its fold's test set; a fold's heads share the states.

    device: where heads hear frames, the CPU by default; means in memory are heard there in any case.
    """
    where = torch.device("cpu") if device is None or isinstance(source, Means) else device
    scored = []
    for number, fold in enumerate(material.split.folds):
        of_fold = task.of_fold(fold.train)
        own = [(attempt, built(attempt, of_fold).to(where)) for attempt in chosen if attempt.fold == number]
        heard: list[list[Tensor]] = [[] for _ in own]
        for states in source.batches(torch.split(torch.tensor(scorer.tested(fold)), TESTED_AT_ONCE)):
            here = move(states, where)
            for (_, head), predictions in zip(own, heard, strict=True):
                predictions.extend(prediction.cpu() for prediction in of_fold.predict(head, here))
        scored += [
            ScoredHead(attempt, head, scorer.evaluate(predictions, fold))
            for (attempt, head), predictions in zip(own, heard, strict=True)
        ]
    return scored


def built(attempt: Attempt, task: Task) -> Head:
    """The head of an attempt at its best step."""
    head = task.build(attempt.point.seed, attempt.point.layer)
    head.load_state_dict(attempt.weights)
    return head.eval()


def prediction_rows(scored: ScoredHead, material: Material) -> list[dict[str, object]]:
    """One row a test utterance, for predictions.jsonl; none where the family leaves another file."""
    point, fold = scored.attempt.point, material.split.folds[scored.attempt.fold]
    layer = "mix" if point.layer is None else point.layer
    whose = {"fold": fold.name, "seed": point.seed, "layer": layer}
    return [{"id": row["id"], **whose, **row} for row in scored.evaluation.rows]


def head_record(scored: ScoredHead, material: Material, select: str) -> HeadRecord:
    attempt, fold = scored.attempt, material.split.folds[scored.attempt.fold]
    return HeadRecord(
        fold=fold.name,
        seed=attempt.point.seed,
        layer=attempt.point.layer,
        lr=attempt.point.lr,
        step=attempt.step,
        development=METRICS[select].sign * attempt.development,
        metrics=dict(scored.evaluation.metrics),
        layer_weights=scored.head.weighted_sum.proportions(),
        **scored.evaluation.details,
    )


def fold_records(heads: Sequence[HeadRecord], material: Material, scorer: Scorer) -> list[FoldRecord]:
    """Every fold, with the mean over seeds of its heads on the first layer."""
    records = []
    for fold in material.split.folds:
        own = [head for head in heads if head.fold == fold.name and head.layer == heads[0].layer]
        records.append(
            FoldRecord(
                name=fold.name,
                train=material.describe(fold.train),
                dev=material.describe(fold.dev),
                test=material.describe(fold.test),
                metrics={name: mean(head.metrics[name] for head in own) for name in own[0].metrics},
                chance=scorer.chance(fold),
            )
        )
    return records


def layer_scores(
    scored: Sequence[ScoredHead], heads: Sequence[HeadRecord], scorer: Scorer, primary: str, seed: int
) -> list[LayerScore]:
    """The primary metric on each layer, with its interval; seed: of the bootstrap."""
    scores = []
    for layer in distinct(one.layer for one in scored):
        own = [head for head in heads if head.layer == layer]
        seeds = list(dict.fromkeys(head.seed for head in own))
        value = mean(head.metrics[primary] for head in own)
        evaluations = [one.evaluation for one in scored if one.layer == layer]
        interval = scorer.interval(evaluations, primary, value, seed)
        by_seed = {one: mean(head.metrics[primary] for head in own if head.seed == one) for one in seeds}
        scores.append(
            LayerScore(
                layer=layer, value=value, low=interval.low, high=interval.high, interval=interval.how, by_seed=by_seed
            )
        )
    return scores


def grid_records(
    attempts: Sequence[Attempt], chosen: Sequence[Attempt], material: Material, select: str
) -> list[PointRecord]:
    """Everything that was learned, and whether it was chosen."""
    picked = {id(attempt) for attempt in chosen}
    sign = METRICS[select].sign
    return [
        PointRecord(
            fold=material.split.folds[attempt.fold].name,
            lr=attempt.point.lr,
            seed=attempt.point.seed,
            layer=attempt.point.layer,
            step=attempt.step,
            development=sign * attempt.development if attempt.step else None,
            curve=[(step, finite(loss), finite(sign * score)) for step, loss, score in attempt.history],
            diverged=attempt.diverged,
            chosen=id(attempt) in picked,
        )
        for attempt in attempts
    ]


def finite(value: float) -> float | None:
    """The value, None for what JSON cannot hold."""
    return value if math.isfinite(value) else None


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
