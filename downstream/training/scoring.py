"""Evaluation of the chosen heads on the test set, once for every fold, seed and layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from downstream.data import Dataset, Part, parts_of_test
from downstream.states import Means, StateSource, move
from downstream.tasks import Evaluation, Head, Task
from downstream.training.loop import Fit
from downstream.training.memory import enough_memory
from downstream.training.sweep import Chosen, LayerSetting

PREDICTED_AT_ONCE = 8  # utterances whose states are held at a time: 0.6 GB for Base in float32 at half a minute each


@torch.no_grad()
def predict(
    heads: Sequence[Head], task: Task, utterances: Sequence[int], source: StateSource, device: torch.device
) -> list[list[Tensor]]:
    """Return the predictions of each head for each utterance, on the CPU; heads are in evaluation mode, on `device`."""
    predictions: list[list[Tensor]] = [[] for _ in heads]
    for states in source.batches(torch.split(torch.tensor(utterances), PREDICTED_AT_ONCE)):
        here = move(states, device)
        for head, own in zip(heads, predictions, strict=True):
            own.extend(prediction.cpu() for prediction in task.predict(head, here))
    return predictions


def device_of_heads(source: StateSource, device: torch.device | None) -> torch.device:
    """Return the device of heads: the CPU for means in memory, the upstream's device for frames."""
    return torch.device("cpu") if device is None or isinstance(source, Means) else device


@dataclass(frozen=True)
class ScoredHead:
    """A chosen head, and its evaluation on each test part of its fold, the primary part first.

    setting: the layer setting that it was chosen for.
    """

    setting: LayerSetting
    fit: Fit
    head: Head
    evaluations: Mapping[str, Evaluation]


def score_heads(
    chosen: Sequence[Chosen[Fit]],
    dataset: Dataset,
    task: Task,
    source: StateSource,
    named: Sequence[str] = (),
    device: torch.device | None = None,
) -> list[ScoredHead]:
    """Evaluate every chosen head on the test set of its fold; a fold's heads share the states.

    named: the test parts that the recipe names. device: of heads that read frames, the CPU by default.
    """
    where = device_of_heads(source, device)
    scored: list[ScoredHead] = []
    for number, fold in enumerate(dataset.split.folds):
        of_fold, parts = task.of_fold(fold.train), parts_of_test(dataset, fold, named)
        own = [one for one in chosen if one.fit.fold == number]
        if not own:
            continue
        needed = list(dict.fromkeys(chain(fold.test, *(of_fold.predicted(part) for part in parts))))
        items = [dataset.items[index] for index in needed]
        with enough_memory("heads were tested", items, "take a smaller head, or a smaller beam"):
            scored += score_fold(own, of_fold, parts, needed, source, where)
    return scored


def score_fold(
    chosen: Sequence[Chosen[Fit]],
    task: Task,
    parts: Sequence[Part],
    needed: Sequence[int],
    source: StateSource,
    where: torch.device,
) -> list[ScoredHead]:
    """Evaluate the chosen heads of a fold on the parts of its test set; needed: the utterances to predict."""
    heads = [built(one.fit, task).to(where) for one in chosen]
    row = {index: number for number, index in enumerate(needed)}
    scored = []
    for one, head, answers in zip(chosen, heads, predict(heads, task, needed, source, where), strict=True):
        evaluations = {
            part.name: task.evaluate([answers[row[index]] for index in task.predicted(part)], part) for part in parts
        }
        scored.append(ScoredHead(one.setting, one.fit, head, evaluations))
    return scored


def built(fit: Fit, task: Task) -> Head:
    """Return the head of a fit at its best step, or the one that was given."""
    if fit.head is not None:
        return fit.head
    head = task.build(fit.config.seed, fit.config.layer)
    head.load_state_dict(fit.weights)
    return head.eval()
