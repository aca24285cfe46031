"""One upstream, one recipe, one result: the flow from a corpus to a record."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from downstream import metrics
from downstream.corpora.splits import Fold
from downstream.material import Material, read_material
from downstream.recipe import Recipe
from downstream.results import (
    FoldRecord,
    Primary,
    RecipeRecord,
    Result,
    Timing,
    UpstreamRecord,
    environment,
    read_result,
    slug,
    write_result,
)
from downstream.tasks.classification import UtteranceClassifier
from downstream.training import Examples, Trained, posteriors, train
from upstream.base import Upstream
from upstream.errors import MendableError
from upstream.extract import fill
from upstream.store import MeanStore, StoreKey, write_atomically
from upstream.weighted_sum import WeightedSum

logger = logging.getLogger("wavprobe")


@dataclass(frozen=True)
class Options:
    """What the command line says beside upstream and recipe.

    data: folder of the corpus; None for its environment variable or the hub.
    results, store: folders of records and of hidden states (and of what else is kept between runs).
    seed: of the head's first weights and the order of utterances.
    layer: the only layer to use, None for the weighted sum.
    fresh: begin again, whatever an earlier run left.
    overrides: what the command line changed of the recipe, for the record.
    """

    data: Path | None
    results: Path
    store: Path
    seed: int = 0
    layer: int | None = None
    fresh: bool = False
    overrides: tuple[str, ...] = ()
    command: str = ""
    progress: bool = True


@dataclass(frozen=True)
class Outcome:
    """A record, the folder it lies in, and whether an earlier run had already finished it."""

    result: Result
    folder: Path
    was_finished: bool


def run(upstream: Upstream, recipe: Recipe, options: Options) -> Outcome:
    """Carry out a recipe.

    A finished run is read back; an interrupted one goes on with the first fold that is not finished, and
    with the states that the store has. Raises MendableError for whatever the user can mend.
    """
    began = time.perf_counter()
    WeightedSum(upstream.num_layers, options.layer)  # refuses a layer that is not there, before anything is computed
    material = read_material(recipe, options.data, options.store)
    read = time.perf_counter()
    folder = run_folder(upstream, recipe, material, options)
    if options.fresh and folder.exists():
        shutil.rmtree(folder)
    if (folder / "result.json").is_file():
        return Outcome(read_result(folder / "result.json"), folder, was_finished=True)
    make_folder(folder)
    logger.info("record goes to %s", folder)
    write_atomically(folder / "recipe.yaml", recipe_yaml(recipe).encode())

    began_extraction = time.perf_counter()
    examples, extracted = extract(upstream, material, options)
    began_training = time.perf_counter()
    heads = train_folds(upstream, recipe, material, examples, folder, options)
    began_evaluation = time.perf_counter()
    scored = [evaluate(head, material, fold, examples) for head, fold in zip(heads, material.split.folds, strict=True)]
    folds = [fold for fold, _ in scored]
    rows = [row for _, fold_rows in scored for row in fold_rows]
    write_atomically(folder / "predictions.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    write_heads(folder, heads, material)
    timing = Timing(
        reading=read - began,
        extraction=began_training - began_extraction,
        training=began_evaluation - began_training,
        evaluation=time.perf_counter() - began_evaluation,
        audio_seconds=sum(item.seconds for item in material.items),
        extracted_audio_seconds=extracted,
    )
    result = record(upstream, recipe, material, options, folds, rows, timing)
    write_result(folder / "result.json", result)
    shutil.rmtree(folder / "folds", ignore_errors=True)  # what they held is in head.safetensors and the record
    return Outcome(result, folder, was_finished=False)


# ---------------------------------------------------------------- material to examples


def extract(upstream: Upstream, material: Material, options: Options) -> tuple[Examples, float]:
    """Per-layer means of every utterance, through the store; and the seconds of audio that were not in it."""
    store = MeanStore(options.store / "means", StoreKey.of(upstream))
    for name in store.damaged:
        tqdm.write(f"The store's shard {name} was damaged; what it held is made again.", file=sys.stderr)
    present = sum(item.digest in store for item in material.items)
    logger.info("store %s has %d of %d utterances", store.folder, present, len(material.items))
    extracted = fill(store, upstream, material.items, options.progress)
    means = store.get([item.digest for item in material.items])
    return Examples(means, torch.tensor(material.targets)), extracted


# ---------------------------------------------------------------- examples to heads


def train_folds(
    upstream: Upstream, recipe: Recipe, material: Material, examples: Examples, folder: Path, options: Options
) -> list[Trained]:
    """Learn one head a fold; a fold that an interrupted run finished is read back."""
    settings = recipe.training
    folds = material.split.folds
    trained: list[Trained] = []
    progress: tqdm[Any]
    with tqdm(
        total=settings.steps * len(folds), desc="training", unit=" updates", disable=not options.progress
    ) as progress:
        for fold in folds:
            head = UtteranceClassifier(
                upstream.num_layers,
                upstream.dim,
                recipe.head.projection,
                len(material.classes),
                options.seed,
                options.layer,
            )
            kept = folder / "folds" / f"{fold.name}.safetensors"
            if finished := read_fold(kept, head):
                trained.append(finished)
                progress.update(settings.steps)
                continue
            result = train(
                head,
                examples.take(fold.train),
                examples.take(fold.dev),
                recipe.optimizer,
                settings,
                options.seed,
                progress,
            )
            write_events(folder / "events" / fold.name, result, settings.select)
            write_fold(kept, result)
            trained.append(result)
            logger.info("%s: step %d chosen, development %.4f", fold.name, result.step, result.development)
    return trained


def write_fold(path: Path, fold: Trained) -> None:
    make_folder(path.parent)
    chosen = {"step": str(fold.step), "development": repr(fold.development)}
    write_atomically(path, save(dict(fold.head.state_dict()), metadata=chosen))


def read_fold(path: Path, head: UtteranceClassifier) -> Trained | None:
    """A fold that an interrupted run finished; None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as kept:
            chosen = kept.metadata()
        head.load_state_dict(load_file(path))
    except SafetensorError as error:
        logger.warning("%s is damaged (%s); the fold is learned again", path, error)
        return None
    return Trained(head, int(chosen["step"]), float(chosen["development"]))


def write_events(folder: Path, trained: Trained, score_name: str) -> None:
    """The curves of a fold and its layer weights, for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as events:
        for step, loss, score in trained.history:
            events.add_scalar("training/loss", loss, step)
            events.add_scalar(f"development/{score_name}", score, step)
        for layer, weight in enumerate(trained.head.weighted_sum.proportions()):
            events.add_scalar("layer_weights", weight, layer)
    for written in folder.glob("events.out.tfevents.*"):
        written.rename(folder / "events.out.tfevents.1")  # TensorBoard's own name holds the name of the host


def write_heads(folder: Path, heads: Sequence[Trained], material: Material) -> None:
    """head.safetensors: every fold's head under the fold's name, with the classes in order beside them."""
    tensors: dict[str, Tensor] = {}
    for fold, trained in zip(material.split.folds, heads, strict=True):
        tensors |= {f"{fold.name}.{name}": tensor for name, tensor in trained.head.state_dict().items()}
    write_atomically(folder / "head.safetensors", save(tensors, metadata={"classes": json.dumps(material.classes)}))


# ---------------------------------------------------------------- heads to scores


def evaluate(
    trained: Trained, material: Material, fold: Fold, examples: Examples
) -> tuple[FoldRecord, list[dict[str, object]]]:
    """Score a fold's head on its test set; return the fold's record and one row an utterance."""
    test = examples.take(fold.test)
    probabilities = posteriors(trained.head, test)
    predicted = probabilities.argmax(dim=1)
    confusion = metrics.confusion_matrix(test.targets.numpy(), predicted.numpy(), len(material.classes))
    commonest = Counter(material.targets[i] for i in fold.train).most_common(1)[0][0]
    rows: list[dict[str, object]] = [
        {
            "id": material.utterances[index].id,
            "fold": fold.name,
            "speaker": material.utterances[index].speaker,
            "label": material.classes[material.targets[index]],
            "predicted": material.classes[int(answer)],
            "posteriors": [round(float(p), 6) for p in posterior],
        }
        for index, answer, posterior in zip(fold.test, predicted, probabilities, strict=True)
    ]
    fold_record = FoldRecord(
        name=fold.name,
        train=material.describe(fold.train),
        dev=material.describe(fold.dev),
        test=material.describe(fold.test),
        selected_step=trained.step,
        development=trained.development,
        metrics={name: metric(confusion) for name, metric in metrics.METRICS.items()},
        majority=float((test.targets == commonest).double().mean()),
        confusion=confusion.tolist(),
        layer_weights=trained.head.weighted_sum.proportions(),
    )
    return fold_record, rows


# ---------------------------------------------------------------- scores to record


def record(
    upstream: Upstream,
    recipe: Recipe,
    material: Material,
    options: Options,
    folds: list[FoldRecord],
    rows: list[dict[str, object]],
    timing: Timing,
) -> Result:
    """The record of the run."""
    means = {name: float(np.mean([fold.metrics[name] for fold in folds])) for name in metrics.METRICS}
    means["majority"] = float(np.mean([fold.majority for fold in folds]))
    primary = means[recipe.primary]
    confusions = speaker_confusions(rows, material.classes)
    interval = metrics.speaker_bootstrap(confusions, metrics.METRICS[recipe.primary], primary, options.seed)
    return Result(
        task=recipe.task,
        recipe=RecipeRecord(
            name=recipe.name,
            version=recipe.version,
            protocol=recipe.protocol,
            resolved=recipe.model_dump(mode="json"),
            overrides=list(options.overrides),
        ),
        upstream=UpstreamRecord.of(upstream),
        corpus=material.record(),
        seeds={"head": options.seed, "order": options.seed},
        layer=options.layer,
        classes=list(material.classes),
        primary=Primary(
            name=recipe.primary,
            value=primary,
            low=interval[0] if interval else None,
            high=interval[1] if interval else None,
            interval="95 %, bootstrap over test speakers" if interval else "none: one test speaker",
            higher_is_better=True,
        ),
        metrics=means,
        folds=folds,
        selected={"step": [fold.selected_step for fold in folds]},
        layer_weights=np.mean([fold.layer_weights for fold in folds], axis=0).tolist(),
        timing=timing,
        environment=environment(upstream.device),
        command=options.command,
        caveats=caveats(upstream, recipe, options, folds),
    )


def speaker_confusions(rows: Sequence[Mapping[str, object]], classes: Sequence[str]) -> metrics.IntArray:
    """The confusion matrix of each test speaker, (S, C, C), from the rows of the predictions."""
    number = {name: index for index, name in enumerate(classes)}
    by_speaker: dict[object, list[Mapping[str, object]]] = {}
    for row in rows:
        by_speaker.setdefault(row["speaker"], []).append(row)
    return np.stack(
        [
            metrics.confusion_matrix(
                np.array([number[str(row["label"])] for row in own]),
                np.array([number[str(row["predicted"])] for row in own]),
                len(classes),
            )
            for own in by_speaker.values()
        ]
    )


def caveats(upstream: Upstream, recipe: Recipe, options: Options, folds: Sequence[FoldRecord]) -> list[str]:
    """What a reader of the score should know, the weightiest first."""
    found = []
    if options.overrides and recipe.protocol == "superb":
        found.append(f"Not SUPERB's recipe: {', '.join(options.overrides)}.")
    if upstream.provenance.random_init:
        found.append("The upstream is untrained: this is the control, not a score of its name.")
    for fold in folds:
        unheard = [name for name, count in fold.test.labels.items() if count and not fold.train.labels[name]]
        if unheard:
            found.append(f"{fold.name} is tested on {', '.join(unheard)}, of which its training part has nothing.")
    return found + [f"Deviation from the protocol: {deviation}" for deviation in recipe.deviations]


# ---------------------------------------------------------------- folders


def run_folder(upstream: Upstream, recipe: Recipe, material: Material, options: Options) -> Path:
    """results/<recipe>/<upstream>/<run>: the same question always has the same folder, another one another."""
    question = [
        recipe.model_dump(mode="json"),
        [[fold.name, fold.train, fold.dev, fold.test] for fold in material.split.folds],
        upstream.fingerprint,
        str(upstream.dtype),
        material.fingerprint,
        options.seed,
        options.layer,
    ]
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:8]
    name = slug(upstream.name) + ("-untrained" if upstream.provenance.random_init else "")
    layer = "" if options.layer is None else f"-layer{options.layer}"
    return options.results / recipe.name / name / f"{material.corpus.name}-seed{options.seed}{layer}-{digest}"


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MendableError(
            f"Cannot make the folder {folder}: {error.strerror}. Choose another place with --results."
        ) from error


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe with every field resolved, as YAML."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text
