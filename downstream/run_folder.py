"""The folder of a run: where it is, and what lies in it beside the record."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors.torch import save
from torch import Tensor

from downstream.material import Material
from downstream.metrics import METRICS
from downstream.options import Options
from downstream.recipe import Recipe
from downstream.results import slug
from downstream.scoring.base import Scorer
from downstream.scoring.heads import ScoredHead, prediction_rows
from downstream.settings import SweepSettings
from downstream.training.loop import Attempt
from upstream.base import Upstream
from upstream.errors import MendableError
from upstream.files import write_atomically
from upstream.fingerprint import fingerprint_files

logger = logging.getLogger("wavprobe")


@dataclass(frozen=True)
class Question:
    """What a run answers, as digests.

    learned: of everything that its heads depend on. asked: of that, and of how they are tested.
    """

    learned: str
    asked: str

    @classmethod
    def of(cls, upstream: Upstream, recipe: Recipe, material: Material, options: Options) -> Question:
        settings = recipe.model_dump(mode="json")
        tested = {key: settings["trials"].pop(key) for key in ("normalisation", "cohort", "top")}
        tested |= {"decoding": settings.pop("decoding")}
        learned = [
            settings,
            [[fold.name, fold.train, fold.dev, fold.test] for fold in material.split.folds],
            upstream.fingerprint,
            str(upstream.dtype),
            material.fingerprint,
            options.seed,
            options.layer,
            sorted(trials.rule for trials in material.trials.values()),  # which has the digest of a list
        ]
        files = [path for path in decoding_files(recipe) if path.is_file()]  # others are refused later
        return cls(digest_of(learned), digest_of([learned, tested, fingerprint_files(files)]))


def digest_of(question: object) -> str:
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()


def run_folder(question: Question, upstream: Upstream, recipe: Recipe, material: Material, options: Options) -> Path:
    """results/<recipe>/<upstream>/<run>: the same question always has the same folder, another one another."""
    name = slug(upstream.name) + ("-untrained" if upstream.provenance.random_init else "")
    layer = "" if options.layer is None else f"-layer{options.layer}"
    learned = "sweep" if recipe.sweep != SweepSettings() else f"seed{options.seed}{layer}"
    return options.results / recipe.name / name / f"{material.corpus.name}-{learned}-{question.asked[:8]}"


def decoding_files(recipe: Recipe) -> list[Path]:
    """The files that the test set is decoded with."""
    return [Path(name) for name in (recipe.decoding.language_model, recipe.decoding.lexicon) if name is not None]


def begin(folder: Path, recipe: Recipe, options: Options) -> None:
    """Make the folder of the run, empty it if it is to begin afresh, and say in it what will be done."""
    if options.fresh and folder.exists():
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MendableError(
            f"Cannot make the folder {folder}: {error.strerror}. Choose another place with --results."
        ) from error
    logger.info("record goes to %s", folder)
    resolved = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomically(folder / "recipe.yaml", resolved.encode())


def write_companions(
    folder: Path, scored: Sequence[ScoredHead], material: Material, recipe: Recipe, scorer: Scorer
) -> None:
    """What lies beside the record: predictions, the chosen heads, what the family adds, TensorBoard events.

    What the outputs of each fold's heads stand for is in the metadata of head.safetensors.
    """
    if rows := [row for one in scored for row in prediction_rows(one, material)]:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomically(folder / "predictions.jsonl", lines.encode())
    tensors: dict[str, Tensor] = {}
    for one in scored:
        name = head_name(one.attempt, material)
        tensors |= {f"{name}.{part}": tensor for part, tensor in one.attempt.weights.items()}
        write_events(folder / "events" / name, one, recipe.select)
        for ending, content in one.evaluation.files.items():
            write_atomically(folder / f"{name}.{ending}", content)
    outputs = {fold.name: list(scorer.outputs(fold)) for fold in material.split.folds}
    write_atomically(folder / "head.safetensors", save(tensors, metadata={"outputs": json.dumps(outputs)}))


def head_name(attempt: Attempt, material: Material) -> str:
    """What a head is called in files: fold1-seed0, with -layer6 behind it for a head on one layer."""
    point = attempt.point
    layer = "" if point.layer is None else f"-layer{point.layer}"
    return f"{material.split.folds[attempt.fold].name}-seed{point.seed}{layer}"


def write_events(folder: Path, scored: ScoredHead, score_name: str) -> None:
    """The curves of a chosen head and its layer weights, for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as events:
        for step, loss, score in scored.attempt.history:
            events.add_scalar("training/loss", loss, step)
            events.add_scalar(f"development/{score_name}", METRICS[score_name].sign * score, step)
        for layer, weight in enumerate(scored.head.weighted_sum.proportions()):
            events.add_scalar("layer_weights", weight, layer)
    for written in folder.glob("events.out.tfevents.*"):
        written.rename(folder / "events.out.tfevents.1")  # TensorBoard's own name holds the name of the host
