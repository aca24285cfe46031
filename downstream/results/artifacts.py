"""What lies beside a record: predictions, the chosen heads, the family's files, and curves for TensorBoard."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Sequence

from torch import Tensor

from downstream.data import Dataset
from downstream.results.folder import EVENTS, HEADS
from downstream.results.head_file import described, head_name, written_heads
from downstream.results.names import slug
from downstream.results.record import Result
from downstream.results.run import Run
from downstream.tasks import Task
from downstream.training import Fit, LayerSetting, ScoredHead

FINAL = "final.safetensors"  # the head that learned from all data, where one was asked for
PREDICTIONS = "predictions.jsonl"


def artifacts(run: Run, record: Result) -> dict[str, bytes]:
    """Return the files beside a record by name: predictions, the chosen heads, and the family's own."""
    scored, dataset = run.scored, run.dataset
    files: dict[str, bytes] = {}
    if rows := [row for one in scored for row in prediction_rows(one, dataset)]:
        files[PREDICTIONS] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    tensors: dict[str, Tensor] = {}
    for one in scored:
        name = fit_name(one.fit, one.setting, dataset)
        # A chosen fit may also have a setting of its layer, and safetensors refuses one tensor under two names.
        shared = isinstance(one.setting, str)
        tensors |= {f"{name}.{part}": own.clone() if shared else own for part, own in one.fit.weights.items()}
        for number, (part, evaluation) in enumerate(one.evaluations.items()):
            place = f"{name}.{slug(part)}" if number else name
            files |= {f"{place}.{ending}": content for ending, content in evaluation.files().items()}
    return files | {HEADS: written_heads(tensors, described(run, record))}


def prediction_rows(scored: ScoredHead, dataset: Dataset) -> list[dict[str, object]]:
    """Return a row for each test utterance, in the order of the fold's test set; none where `files` has more."""
    fold = dataset.split.folds[scored.fit.fold]
    whose = {"fold": fold.name, "seed": scored.fit.config.seed, "layer": setting_name(scored.setting)}
    several = len(scored.evaluations) > 1
    rows = {
        row["id"]: {"id": row["id"], **whose, **row, **({"part": part} if several and "part" not in row else {})}
        for part, evaluation in scored.evaluations.items()
        for row in evaluation.rows()
    }
    ids = (dataset.utterances[index].id for index in fold.test)
    return [rows[name] for name in ids if name in rows]


def fit_name(fit: Fit, setting: LayerSetting, dataset: Dataset) -> str:
    """Return the name in files of the head of a fit; see `head_name`."""
    return head_name(dataset.split.folds[fit.fold].name, fit.config.seed, setting)


def setting_name(setting: LayerSetting) -> int | str:
    """Return a layer setting as recipes write it."""
    return "mix" if setting is None else setting


def events(scored: Sequence[ScoredHead], dataset: Dataset, task: Task, select: str) -> dict[str, bytes]:
    """Return a file for TensorBoard by its name for each head: its curves, and its layer weights.

    They are made in memory: TensorBoard's own writer would name them after the host, and two processes that finish the
    same run would find each other's files.
    select: the metric of the development score.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter
    from torch.utils.tensorboard.summary import scalar

    files = {}
    for one in scored:
        stream, now = io.BytesIO(), time.time()
        records = RecordWriter(stream)
        records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for name, step, value in points(one, select, task.metrics[select].sign):
            event = Event(wall_time=now, step=step, summary=scalar(name, value))  # type: ignore[no-untyped-call]
            records.write(event.SerializeToString())
        name = f"{EVENTS}/{fit_name(one.fit, one.setting, dataset)}/events.out.tfevents.1"
        files[name] = stream.getvalue()
    return files


def points(scored: ScoredHead, select: str, sign: int) -> Iterator[tuple[str, int, float]]:
    """Yield name, step and value of every point of a head's curves, then its layer weights by layer."""
    for step, loss, score in scored.fit.history:
        yield "training/loss", step, loss
        yield f"development/{select}", step, sign * score
    for layer, weight in enumerate(scored.head.weighted_sum.proportions()):
        yield "layer_weights", layer, weight
