"""One upstream, one recipe, one result: the flow from a corpus to a record."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from downstream.allowance import StatesPlan, plan_states
from downstream.families import NEEDS, make_family
from downstream.learning import learn, refuse_divergence
from downstream.material import Material, read_material
from downstream.metrics import METRICS
from downstream.options import Options
from downstream.recipe import Recipe
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
    write_result,
)
from downstream.reuse import learned_before
from downstream.run_folder import Question, begin, run_folder, write_companions
from downstream.scoring import heads as scoring
from downstream.scoring.base import Scorer
from downstream.scoring.heads import ScoredHead
from downstream.sources import prepare, read_whole
from downstream.sweep import choose, points
from downstream.training.loop import Attempt, Snapshots
from upstream.base import Upstream
from upstream.encode import seconds_of
from upstream.errors import MendableError
from upstream.files import STATES
from upstream.ranks import ALONE, Ranks

logger = logging.getLogger("wavprobe")

# What may be overridden without leaving a protocol: SUPERB tunes the learning rate, has scores with and without a
# language model, and leaves it to the user where its list of trials lies; more seeds, or states that come from
# elsewhere as they are, change no rule of it.
WITHIN_PROTOCOL = (
    "optimizer.lr=",
    "sweep.lr=",
    "sweep.seed=",
    "store.mode=",
    "store.codec=",
    "trials.list=",
    "decoding.",
)


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
    question = Question.of(upstream, recipe, material, options)
    folder = run_folder(question, upstream, recipe, material, options)
    if (folder / "result.json").is_file() and not options.fresh:
        return Outcome(read_result(folder / "result.json"), folder, was_finished=True) if ranks.main else None
    task, scorer = make_family(recipe, upstream, material)
    whole = [material.items[index] for index in read_whole(material, recipe.training)]
    heard = [material.items[index] for index in material.split.used]
    plan = plan_states(recipe.store, NEEDS[recipe.task], upstream, whole, options.store / STATES, options.store_limit)
    if plan.key is None:
        refuse_sharing_nothing(plan, ranks)
    if ranks.main:
        begin(folder, recipe, options)
        if plan.missing or plan.key is None:
            tqdm.write(plan.sentence, file=sys.stderr)

    began_extraction = time.perf_counter()
    source, extracted = prepare(upstream, material, recipe.training, plan, options.progress, ranks)
    if not ranks.main:
        return None
    began_training = time.perf_counter()
    snapshots = Snapshots(folder / "snapshot", options.snapshot_seconds)
    earlier = None if options.fresh else learned_before(folder, question.learned, material, recipe.select)
    if earlier is None:
        attempts = learn(recipe, material, task, source, heads, upstream.device, snapshots, options.progress)
    else:
        attempts = earlier.attempts
    began_evaluation = time.perf_counter()
    chosen = choose(attempts)
    refuse_divergence(attempts, chosen, recipe)
    scored = scoring.score_heads(chosen, material, task, scorer, source, upstream.device)
    write_companions(folder, scored, material, recipe, scorer)
    extracted += source.computed_seconds
    timing = Timing(
        reading=began_extraction - began,
        extraction=began_training - began_extraction,
        training=began_evaluation - began_training,
        evaluation=time.perf_counter() - began_evaluation,
        audio_seconds=seconds_of(heard),
        extracted_audio_seconds=extracted,
    )
    result = record(upstream, recipe, material, scorer, plan, options, question.learned, attempts, scored, timing)
    if earlier is not None:
        result.caveats.append(f"The heads are those that the run {earlier.run} learned; only their test is new.")
    write_result(folder / "result.json", result)
    snapshots.path.unlink(missing_ok=True)  # what it held is in head.safetensors and the record
    return Outcome(result, folder, was_finished=False)


# ---------------------------------------------------------------- corpus to states


def refuse_sharing_nothing(plan: StatesPlan, ranks: Ranks) -> None:
    """Raise MendableError where several processes were started to fill a store that is not to be filled."""
    if ranks.world > 1:
        raise MendableError(
            f"{plan.sentence} Several processes share an extraction into the store and nothing else: start one alone, "
            "or make room for the states."
        )


# ---------------------------------------------------------------- scores to record


def record(
    upstream: Upstream,
    recipe: Recipe,
    material: Material,
    scorer: Scorer,
    plan: StatesPlan,
    options: Options,
    learned: str,
    attempts: Sequence[Attempt],
    scored: Sequence[ScoredHead],
    timing: Timing,
) -> Result:
    """The record of the run."""
    heads = [scoring.head_record(one, material, recipe.select) for one in scored]
    folds = scoring.fold_records(heads, material, scorer)
    layers = scoring.layer_scores(scored, heads, scorer, recipe.primary, options.seed)
    first = [head for head in heads if head.layer == layers[0].layer]
    means = {name: scoring.mean(fold.metrics[name] for fold in folds) for name in folds[0].metrics}
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
        learned=learned,
        seeds={"head": list(primary.by_seed), "order": [recipe.training.order_seed]},
        classes=list(material.classes) if recipe.task == "classification" else [],
        primary=Primary(
            name=recipe.primary,
            value=primary.value,
            low=primary.low,
            high=primary.high,
            interval=primary.interval,
            higher_is_better=METRICS[recipe.primary].higher_is_better,
        ),
        metrics=means,
        chance=scoring.mean(fold.chance for fold in folds),
        chance_means=scorer.chance_means,
        folds=folds,
        layers=layers,
        heads=heads,
        grid=scoring.grid_records(attempts, [one.attempt for one in scored], material, recipe.select),
        selected={"lr": [head.lr for head in first], "step": [head.step for head in first]},
        layer_weights=np.mean([head.layer_weights for head in first], axis=0).tolist(),
        timing=timing,
        environment=environment(upstream.device),
        command=options.command,
        caveats=caveats(upstream, recipe, material, options, folds, heads, attempts, [one.attempt for one in scored]),
    )


def caveats(
    upstream: Upstream,
    recipe: Recipe,
    material: Material,
    options: Options,
    folds: Sequence[FoldRecord],
    heads: Sequence[HeadRecord],
    attempts: Sequence[Attempt],
    chosen: Sequence[Attempt],
) -> list[str]:
    """What a reader of the score should know, the weightiest first."""
    found = []
    changed = [one for one in options.overrides if not one.startswith(WITHIN_PROTOCOL)]
    changed += [] if options.layer is None else [f"layer {options.layer} alone"]
    if changed and recipe.protocol == "superb":
        found.append(f"Not SUPERB's recipe: {', '.join(changed)}.")
    if upstream.provenance.random_init:
        found.append("The upstream is untrained: this is the control, not a score of its name.")
    for fold in folds:
        unheard = [name for name, count in fold.test.labels.items() if count and not fold.train.labels[name]]
        if unheard:
            found.append(f"{fold.name} is tested on {', '.join(unheard)}, of which its training part has nothing.")
    if any(fold.dev == fold.test for fold in material.split.folds):
        metric = METRICS[recipe.select]
        last = abs(scoring.mean(attempt.history[-1][2] for attempt in chosen))  # scores of errors are negative
        found.append(
            f"The step was chosen on the test set, as SUPERB does it, so the score is optimistic: at the last step the "
            f"{metric.title} is {metric.written(last)}{metric.unit}."
        )
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
