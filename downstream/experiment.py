"""One upstream, one recipe, one result: the flow from a corpus to a record."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from downstream import scoring
from downstream.allowance import StatesPlan, plan_states
from downstream.material import Material, read_material
from downstream.recipe import Recipe, SweepSettings
from downstream.results import (
    FoldRecord,
    HeadRecord,
    Primary,
    RecipeRecord,
    Result,
    StatesRecord,
    Timing,
    UpstreamRecord,
    environment,
    read_result,
    slug,
    write_result,
)
from downstream.scoring import ScoredHead
from downstream.states import Computed, Means, StateSource, StoredFrames
from downstream.sweep import Point, choose, points
from downstream.tasks.classification import Classification
from downstream.training.learner import Learner
from downstream.training.loop import Attempt, FoldData, Snapshots, train
from downstream.training.order import Order
from downstream.training.separate import SeparateHeads
from downstream.training.stacked import StackedClassifiers, stack_size
from upstream.base import Upstream
from upstream.encode import seconds_of
from upstream.errors import MendableError
from upstream.extract import fill
from upstream.files import STATES, write_atomically
from upstream.ranks import ALONE, Ranks

logger = logging.getLogger("wavprobe")

# What may be overridden without leaving a protocol: SUPERB tunes the learning rate, and more seeds, or states that come
# from elsewhere as they are, change no rule of it.
WITHIN_PROTOCOL = ("sweep.lr=", "sweep.seed=", "store.mode=")


@dataclass(frozen=True)
class Options:
    """What the command line says beside upstream and recipe.

    data: folder of the corpus; None for its environment variable or the hub.
    results, store: folders of records and of hidden states (and of what else is kept between runs).
    store_limit: bytes that may be added to the store; None for half of what is free on its disk.
    seed: of the heads' first weights, where the recipe's sweep lists none.
    layer: the only layer to use, None for the weighted sum, where the recipe's sweep lists none.
    fresh: begin again, whatever an earlier run left.
    snapshot_seconds: how much of the training an interruption may cost.
    overrides: what the command line changed of the recipe, for the record.
    """

    data: Path | None
    results: Path
    store: Path
    store_limit: int | None = None
    seed: int = 0
    layer: int | None = None
    fresh: bool = False
    snapshot_seconds: float = 30.0
    overrides: tuple[str, ...] = ()
    command: str = ""
    progress: bool = True


@dataclass(frozen=True)
class Outcome:
    """A record, the folder it lies in, and whether an earlier run had already finished it."""

    result: Result
    folder: Path
    was_finished: bool


def run(upstream: Upstream, recipe: Recipe, options: Options, ranks: Ranks = ALONE) -> Outcome | None:
    """Carry out a recipe.

    A finished run is read back; an interrupted one goes on with the states that the store has and from the last
    snapshot of its training. Of several processes (`ranks`) each extracts its part; the first one alone goes on to
    learn and to record, and the others return None. Raises MendableError for whatever the user can mend.
    """
    began = time.perf_counter()
    heads = points(recipe, upstream.num_layers, options.seed, options.layer)
    material = read_material(recipe, options.data, options.store)
    folder = run_folder(upstream, recipe, material, options)
    if (folder / "result.json").is_file() and not options.fresh:
        return Outcome(read_result(folder / "result.json"), folder, was_finished=True) if ranks.main else None
    plan = plan_states(
        recipe.store, Classification.needs, upstream, material.items, options.store / STATES, options.store_limit
    )
    if plan.key is None:
        refuse_sharing_nothing(plan, ranks)
    if ranks.main:
        begin(folder, recipe, options)
        if plan.missing or plan.key is None:
            tqdm.write(plan.sentence, file=sys.stderr)

    began_extraction = time.perf_counter()
    source, extracted = prepare(upstream, material, plan, options, ranks)
    if not ranks.main:
        return None
    began_training = time.perf_counter()
    task = classification(upstream, recipe, material)
    attempts = learn(upstream, recipe, material, task, source, heads, folder, options)
    began_evaluation = time.perf_counter()
    chosen = choose(attempts)
    refuse_divergence(attempts, chosen, recipe)
    scored = scoring.score_heads(chosen, material, task, source)
    write_companions(folder, scored, material, recipe)
    if isinstance(source, Computed):
        extracted = source.audio_seconds
    timing = Timing(
        reading=began_extraction - began,
        extraction=began_training - began_extraction,
        training=began_evaluation - began_training,
        evaluation=time.perf_counter() - began_evaluation,
        audio_seconds=seconds_of(material.items),
        extracted_audio_seconds=extracted,
    )
    result = record(upstream, recipe, material, task, plan, options, attempts, scored, timing)
    write_result(folder / "result.json", result)
    (folder / "snapshot").unlink(missing_ok=True)  # what it held is in head.safetensors and the record
    return Outcome(result, folder, was_finished=False)


# ---------------------------------------------------------------- corpus to states


def refuse_sharing_nothing(plan: StatesPlan, ranks: Ranks) -> None:
    """Raise MendableError where several processes were started to fill a store that is not to be filled."""
    if ranks.world > 1:
        raise MendableError(
            f"{plan.sentence} Several processes share an extraction into the store and nothing else: start one alone, "
            "or make room for the states."
        )


def prepare(
    upstream: Upstream, material: Material, plan: StatesPlan, options: Options, ranks: Ranks
) -> tuple[StateSource, float]:
    """Where the heads will have their states from, and the seconds of audio that had to be extracted for it."""
    store = plan.open_store(upstream.name)
    if store is None:
        return Computed(upstream, material.items, plan.reduction), 0.0
    extracted = fill(store, upstream, material.items, options.progress, ranks)
    for name in store.damaged:
        tqdm.write(f"The store's shard {name} was damaged; what it held was made again.", file=sys.stderr)
    logger.info("store %s was given %.0f s of audio", store.folder, extracted)
    if plan.reduction == "frames":
        return StoredFrames(store, material.items), extracted
    needed = material.items if ranks.main else ()  # the others go no further
    return Means(store.means([item.digest for item in needed])), extracted


# ---------------------------------------------------------------- states to heads


def classification(upstream: Upstream, recipe: Recipe, material: Material) -> Classification:
    return Classification(
        upstream.num_layers,
        upstream.dim,
        recipe.head.projection,
        len(material.classes),
        torch.tensor(material.targets),
        recipe.training.select,
    )


def learn(
    upstream: Upstream,
    recipe: Recipe,
    material: Material,
    task: Classification,
    source: StateSource,
    heads: Sequence[Point],
    folder: Path,
    options: Options,
) -> list[Attempt]:
    """Learn all points on all folds side by side."""
    settings = recipe.training
    folds = [
        FoldData(Order(fold.train, settings.batch, settings.accumulate, settings.order_seed), torch.tensor(fold.dev))
        for fold in material.split.folds
    ]
    learners = make_learners(upstream, recipe, task, source, heads, len(folds))
    snapshots = Snapshots(folder / "snapshot", options.snapshot_seconds)
    progress: tqdm[Any]
    described = f"learning {len(heads) * len(folds)} heads"
    with tqdm(total=settings.steps, desc=described, unit=" updates", disable=not options.progress) as progress:
        attempts = train(learners, folds, task, settings, snapshots, Bar(progress, source))
    for one in attempts:
        logger.info("fold %d, %s: step %d, development %.4f", one.fold, one.point, one.step, one.development)
    return attempts


def make_learners(
    upstream: Upstream,
    recipe: Recipe,
    task: Classification,
    source: StateSource,
    heads: Sequence[Point],
    folds: int,
) -> list[Learner]:
    """On means in memory, stacks of heads; otherwise a module a head. Stacks pay while classes are few."""
    optimizer, clip = recipe.optimizer, recipe.training.clip
    if not isinstance(source, Means) or task.num_classes > recipe.training.batch * recipe.training.accumulate:
        device = torch.device("cpu") if isinstance(source, Means) else upstream.device
        return [SeparateHeads(fold, heads, task, source, optimizer, clip, device) for fold in range(folds)]
    size = stack_size(task, torch.get_num_threads(), len(heads) * folds)
    return [
        StackedClassifiers(fold, heads[first : first + size], task, source.means, optimizer, clip)
        for fold in range(folds)
        for first in range(0, len(heads), size)
    ]


class Bar:
    """A progress bar of updates; where heads hear frames, it also says of how many seconds of audio a second."""

    def __init__(self, bar: tqdm[Any], source: StateSource) -> None:
        self._bar, self._source, self._began = bar, source, time.perf_counter()

    def resume(self, done: int) -> None:
        """Begin at `done`, which says nothing about the rate of what follows."""
        self._bar.initial = self._bar.n = self._bar.last_print_n = done
        self._bar.refresh()

    def update(self, amount: int) -> None:
        if isinstance(self._source, Computed | StoredFrames):
            rate = self._source.audio_seconds / (time.perf_counter() - self._began)
            self._bar.set_postfix_str(f"{rate:.0f} audio s/s", refresh=False)
        self._bar.update(amount)


def refuse_divergence(attempts: Sequence[Attempt], chosen: Sequence[Attempt], recipe: Recipe) -> None:
    """Raise MendableError where the first layer, whose score is the primary one, was left without heads."""
    first = attempts[0].point.layer
    if any(one.point.layer == first for one in chosen):
        return
    rates = sorted({attempt.point.lr for attempt in attempts})
    key, value = ("sweep.lr", f"[{rates[0] / 10:g}]") if recipe.sweep.lr else ("optimizer.lr", f"{rates[0] / 10:g}")
    raise MendableError(
        f"Training diverged: with learning rate {' or '.join(f'{rate:g}' for rate in rates)} the loss was not finite "
        f"at any evaluation of some fold. Lower it, for example -o {key}={value}."
    )


# ---------------------------------------------------------------- scores to record


def record(
    upstream: Upstream,
    recipe: Recipe,
    material: Material,
    task: Classification,
    plan: StatesPlan,
    options: Options,
    attempts: Sequence[Attempt],
    scored: Sequence[ScoredHead],
    timing: Timing,
) -> Result:
    """The record of the run."""
    heads = [scoring.head_record(one, material, task) for one in scored]
    folds = scoring.fold_records(heads, material)
    layers = scoring.layer_scores(scored, heads, material, recipe.primary, options.seed)
    first = [head for head in heads if head.layer == layers[0].layer]
    means = {name: scoring.mean(fold.metrics[name] for fold in folds) for name in folds[0].metrics}
    means["majority"] = scoring.mean(fold.majority for fold in folds)
    primary = layers[0]
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
        states=StatesRecord(mode=plan.mode, codec=plan.key.codec if plan.key else None, bytes=plan.total),
        seeds={"head": list(primary.by_seed), "order": [recipe.training.order_seed]},
        classes=list(material.classes),
        primary=Primary(
            name=recipe.primary,
            value=primary.value,
            low=primary.low,
            high=primary.high,
            interval="none: one test speaker" if primary.low is None else "95 %, bootstrap over test speakers",
            higher_is_better=True,
        ),
        metrics=means,
        folds=folds,
        layers=layers,
        heads=heads,
        grid=scoring.grid_records(attempts, [one.attempt for one in scored], material),
        selected={"lr": [head.lr for head in first], "step": [head.step for head in first]},
        layer_weights=np.mean([head.layer_weights for head in first], axis=0).tolist(),
        timing=timing,
        environment=environment(upstream.device),
        command=options.command,
        caveats=caveats(upstream, recipe, options, folds, heads, attempts),
    )


def caveats(
    upstream: Upstream,
    recipe: Recipe,
    options: Options,
    folds: Sequence[FoldRecord],
    heads: Sequence[HeadRecord],
    attempts: Sequence[Attempt],
) -> list[str]:
    """What a reader of the score should know, the weightiest first."""
    found = []
    changed = [one for one in options.overrides if not one.startswith(WITHIN_PROTOCOL)]
    if changed and recipe.protocol == "superb":
        found.append(f"Not SUPERB's recipe: {', '.join(changed)}.")
    if upstream.provenance.random_init:
        found.append("The upstream is untrained: this is the control, not a score of its name.")
    for fold in folds:
        unheard = [name for name, count in fold.test.labels.items() if count and not fold.train.labels[name]]
        if unheard:
            found.append(f"{fold.name} is tested on {', '.join(unheard)}, of which its training part has nothing.")
    if diverged := sum(attempt.diverged is not None for attempt in attempts):
        found.append(f"{diverged} of {len(attempts)} heads diverged and were given up; the grid says which.")
    asked = {(attempt.point.seed, attempt.point.layer) for attempt in attempts}
    for seed, layer in sorted(asked - {(head.seed, head.layer) for head in heads}, key=str):
        where = "the weighted sum" if layer is None else f"layer {layer}"
        found.append(f"Seed {seed} on {where} is left out: on some fold no learning rate came to a score.")
    edges = {min(recipe.sweep.lr), max(recipe.sweep.lr)} if len(recipe.sweep.lr) > 1 else set()
    if at_edge := sum(head.lr in edges for head in heads):
        found.append(f"{at_edge} of {len(heads)} chosen learning rates lie at an end of the list; a wider one may win.")
    return found + [f"Deviation from the protocol: {deviation}" for deviation in recipe.deviations]


# ---------------------------------------------------------------- folders and files


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
    learned = "sweep" if recipe.sweep != SweepSettings() else f"seed{options.seed}{layer}"
    return options.results / recipe.name / name / f"{material.corpus.name}-{learned}-{digest}"


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


def write_companions(folder: Path, scored: Sequence[ScoredHead], material: Material, recipe: Recipe) -> None:
    """What lies beside the record: predictions.jsonl, head.safetensors with every chosen head, TensorBoard events."""
    rows = [row for one in scored for row in scoring.prediction_rows(one, material)]
    write_atomically(folder / "predictions.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    tensors: dict[str, Tensor] = {}
    for one in scored:
        name = head_name(one.attempt, material)
        tensors |= {f"{name}.{part}": tensor for part, tensor in one.attempt.weights.items()}
        write_events(folder / "events" / name, one, recipe.training.select)
    write_atomically(folder / "head.safetensors", save(tensors, metadata={"classes": json.dumps(material.classes)}))


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
            events.add_scalar(f"development/{score_name}", score, step)
        for layer, weight in enumerate(scored.head.weighted_sum.proportions()):
            events.add_scalar("layer_weights", weight, layer)
    for written in folder.glob("events.out.tfevents.*"):
        written.rename(folder / "events.out.tfevents.1")  # TensorBoard's own name holds the name of the host
