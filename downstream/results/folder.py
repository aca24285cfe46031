"""The folder of a run: its name, and what lies in it beside the record."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from safetensors.torch import save
from torch import Tensor

from downstream.data import Dataset
from downstream.recipes import BEST, Options, Recipe, SweepSettings
from downstream.results.question import Question
from downstream.results.record import slug
from downstream.tasks import Task
from downstream.training import Fit, LayerSetting, ScoredHead
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.files import write_atomically

logger = logging.getLogger("wavprobe")

HEADS = "head.safetensors"
RECORD = "result.json"


def run_folder(question: Question, upstream: Upstream, recipe: Recipe, dataset: Dataset, options: Options) -> Path:
    """Return results/<recipe>/<upstream>/<run>; the same question always has the same folder."""
    name = slug(upstream.name) + ("-untrained" if upstream.provenance.random_init else "")
    layer = "" if options.layer is None else f"-layer{options.layer}"
    learned = "sweep" if recipe.sweep != SweepSettings() else f"seed{options.seed}{layer}"
    return options.results / recipe.name / name / f"{dataset.corpus.name}-{learned}-{question.asked[:8]}"


def begin(folder: Path, recipe: Recipe, options: Options) -> None:
    """Make the folder of a run, emptied if `options.fresh`, and write the recipe into it."""
    if options.fresh and folder.exists():
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot make the folder {folder}: {error.strerror}. Choose another place with --results."
        ) from error
    logger.info("record goes to %s", folder)
    resolved = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomically(folder / "recipe.yaml", resolved.encode())


def write_artifacts(folder: Path, scored: Sequence[ScoredHead], dataset: Dataset, task: Task, select: str) -> None:
    """Write the artifacts beside the record: predictions, the chosen heads, the family's files, TensorBoard events.

    The meaning of the outputs of each fold's heads is in the metadata of head.safetensors.
    select: the metric of the development score.
    """
    if rows := [row for one in scored for row in prediction_rows(one, dataset)]:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomically(folder / "predictions.jsonl", lines.encode())
    tensors: dict[str, Tensor] = {}
    for one in scored:
        name = head_name(one.fit, one.setting, dataset)
        # The best fit may also have a setting of its layer, and safetensors refuses one tensor under two names.
        own = {part: tensor.clone() if one.setting == BEST else tensor for part, tensor in one.fit.weights.items()}
        tensors |= {f"{name}.{part}": tensor for part, tensor in own.items()}
        write_events(folder / "events" / name, one, select, task.metrics[select].sign)
        for number, (part, evaluation) in enumerate(one.evaluations.items()):
            place = f"{name}.{slug(part)}" if number else name
            for ending, content in evaluation.files().items():
                write_atomically(folder / f"{place}.{ending}", content)
    outputs = {fold.name: list(task.outputs(fold)) for fold in dataset.split.folds}
    write_atomically(folder / HEADS, save(tensors, metadata={"outputs": json.dumps(outputs)}))


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


def head_name(fit: Fit, setting: LayerSetting, dataset: Dataset) -> str:
    """Return a head's name in files: fold1-seed0, then -layer6 or -best for a layer setting."""
    layer = "" if setting is None else f"-{setting}" if isinstance(setting, str) else f"-layer{setting}"
    return f"{dataset.split.folds[fit.fold].name}-seed{fit.config.seed}{layer}"


def setting_name(setting: LayerSetting) -> int | str:
    """Return a layer setting as recipes write it."""
    return "mix" if setting is None else setting


def write_events(folder: Path, scored: ScoredHead, score_name: str, sign: int) -> None:
    """Write the curves of a chosen head and its layer weights, for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as events:
        for step, loss, score in scored.fit.history:
            events.add_scalar("training/loss", loss, step)
            events.add_scalar(f"development/{score_name}", sign * score, step)
        for layer, weight in enumerate(scored.head.weighted_sum.proportions()):
            events.add_scalar("layer_weights", weight, layer)
    for written in folder.glob("events.out.tfevents.*"):
        written.rename(folder / "events.out.tfevents.1")  # TensorBoard's name contains the host name
