"""Chosen heads to scores: the test set is looked at here, once for every fold, seed and layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from downstream import metrics
from downstream.material import Material
from downstream.results import FoldRecord, HeadRecord, LayerScore, PointRecord
from downstream.states import StateSource, move
from downstream.sweep import distinct
from downstream.tasks.classification import Classification, UtteranceClassifier
from downstream.training.loop import Attempt

TESTED_AT_ONCE = 32  # utterances whose states are held at a time


@dataclass(frozen=True)
class ScoredHead:
    """A chosen head and what it says of the fold's test set: posteriors (U, C)."""

    attempt: Attempt
    head: UtteranceClassifier
    posteriors: Tensor

    @property
    def layer(self) -> int | None:
        return self.attempt.point.layer


@torch.no_grad()
def score_heads(
    chosen: Sequence[Attempt], material: Material, task: Classification, source: StateSource
) -> list[ScoredHead]:
    """Let every chosen head hear its fold's test set; a fold's heads share the states."""
    scored = []
    for number, fold in enumerate(material.split.folds):
        own = [(attempt, built(attempt, task)) for attempt in chosen if attempt.fold == number]
        heard: list[list[Tensor]] = [[] for _ in own]
        for states in source.batches(torch.split(torch.tensor(fold.test), TESTED_AT_ONCE)):
            here = move(states, torch.device("cpu"))  # the upstream may have computed them on a GPU just now
            for (_, head), parts in zip(own, heard, strict=True):
                parts.append(task.predict(head, here))
        scored += [
            ScoredHead(attempt, head, torch.cat(parts)) for (attempt, head), parts in zip(own, heard, strict=True)
        ]
    return scored


def built(attempt: Attempt, task: Classification) -> UtteranceClassifier:
    """The head of an attempt at its best step."""
    head = task.build(attempt.point.seed, attempt.point.layer)
    head.load_state_dict(attempt.weights)
    return head.eval()


def prediction_rows(scored: ScoredHead, material: Material) -> list[dict[str, object]]:
    """One row a test utterance, for predictions.jsonl."""
    point, fold = scored.attempt.point, material.split.folds[scored.attempt.fold]
    predicted = scored.posteriors.argmax(dim=1).tolist()
    return [
        {
            "id": material.utterances[index].id,
            "fold": fold.name,
            "seed": point.seed,
            "layer": "mix" if point.layer is None else point.layer,
            "speaker": material.utterances[index].speaker,
            "label": material.classes[material.targets[index]],
            "predicted": material.classes[answer],
            "posteriors": [round(float(p), 6) for p in posterior],
        }
        for index, answer, posterior in zip(fold.test, predicted, scored.posteriors, strict=True)
    ]


def head_record(scored: ScoredHead, material: Material, task: Classification) -> HeadRecord:
    attempt, fold = scored.attempt, material.split.folds[scored.attempt.fold]
    confusion = task.confusion(scored.posteriors, torch.tensor(fold.test))
    return HeadRecord(
        fold=fold.name,
        seed=attempt.point.seed,
        layer=attempt.point.layer,
        lr=attempt.point.lr,
        step=attempt.step,
        development=attempt.development,
        metrics={name: metric(confusion) for name, metric in metrics.METRICS.items()},
        confusion=confusion.tolist(),
        layer_weights=scored.head.weighted_sum.proportions(),
    )


def fold_records(heads: Sequence[HeadRecord], material: Material) -> list[FoldRecord]:
    """Every fold, with the mean over seeds of its heads on the first layer."""
    targets = material.targets
    records = []
    for fold in material.split.folds:
        own = [head for head in heads if head.fold == fold.name and head.layer == heads[0].layer]
        commonest = Counter(targets[i] for i in fold.train).most_common(1)[0][0]
        records.append(
            FoldRecord(
                name=fold.name,
                train=material.describe(fold.train),
                dev=material.describe(fold.dev),
                test=material.describe(fold.test),
                metrics={name: mean(head.metrics[name] for head in own) for name in metrics.METRICS},
                majority=mean(float(targets[i] == commonest) for i in fold.test),
            )
        )
    return records


def layer_scores(
    scored: Sequence[ScoredHead], heads: Sequence[HeadRecord], material: Material, primary: str, seed: int
) -> list[LayerScore]:
    """The primary metric on each layer, with its interval; seed: of the bootstrap."""
    scores = []
    for layer in distinct(one.layer for one in scored):
        own = [head for head in heads if head.layer == layer]
        seeds = list(dict.fromkeys(head.seed for head in own))
        value = mean(head.metrics[primary] for head in own)
        confusions = speaker_confusions((one for one in scored if one.layer == layer), material)
        interval = metrics.speaker_bootstrap(confusions, metrics.METRICS[primary], value, seed)
        low, high = interval or (None, None)
        by_seed = {one: mean(head.metrics[primary] for head in own if head.seed == one) for one in seeds}
        scores.append(LayerScore(layer=layer, value=value, low=low, high=high, by_seed=by_seed))
    return scores


def speaker_confusions(scored: Iterable[ScoredHead], material: Material) -> metrics.IntArray:
    """The confusion matrix of each test speaker over these heads together, (S, C, C)."""
    classes = len(material.classes)
    by_speaker: dict[str, metrics.IntArray] = {}
    for one in scored:
        predicted = one.posteriors.argmax(dim=1).tolist()
        for index, answer in zip(material.split.folds[one.attempt.fold].test, predicted, strict=True):
            own = by_speaker.setdefault(
                material.utterances[index].speaker, np.zeros((classes, classes), dtype=np.int64)
            )
            own[material.targets[index], answer] += 1
    return np.stack(list(by_speaker.values()))


def grid_records(attempts: Sequence[Attempt], chosen: Sequence[Attempt], material: Material) -> list[PointRecord]:
    """Everything that was learned, and whether it was chosen."""
    picked = {id(attempt) for attempt in chosen}
    return [
        PointRecord(
            fold=material.split.folds[attempt.fold].name,
            lr=attempt.point.lr,
            seed=attempt.point.seed,
            layer=attempt.point.layer,
            step=attempt.step,
            development=attempt.development if attempt.step else None,
            diverged=attempt.diverged,
            chosen=id(attempt) in picked,
        )
        for attempt in attempts
    ]


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
