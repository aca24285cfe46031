"""One upstream, one recipe, one result: the flow from a corpus to a record. Read it first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.data import Corpus, on_all_data
from downstream.finetuning import fine_tuned
from downstream.planned_run import PlannedRun, ReadCorpus
from downstream.recipes import Options, Recipe, completed, effective, overridden, validated
from downstream.results import (
    Earlier,
    Phases,
    Result,
    final_config,
    lacks_final_head,
    learned_before,
    record_final,
    record_run,
    tidy,
)
from downstream.run_steps import Outcome, chosen_fits, finished_before, made_of, make_folder, refuse_learning
from downstream.states import CachePlan, StateSource, prepare
from downstream.tasks import Task, differences, errors_named, load_overridden, unnamed_differences
from downstream.training import (
    Fit,
    ScoredHead,
    distinct,
    for_every_config,
    layer_norms,
    layer_settings,
    learn,
    score_given,
    score_heads,
)
from upstream.base import Upstream
from upstream.catalog import load
from upstream.errors import UserError
from upstream.extract import Wanted
from upstream.ranks import ALONE, Ranks


def run(
    upstream: Upstream, recipe: Recipe, options: Options, ranks: Ranks = ALONE, corpus: Corpus | None = None
) -> Outcome | None:
    """Carry out a recipe, on a corpus that was read already if there is one; see `carry_out`."""
    layer_settings(recipe, upstream.num_layers, options.layer)  # refuses a layer that is not there before it reads
    return carry_out(PlannedRun.of(upstream, ReadCorpus.of(recipe, options, corpus), options), ranks)


def carry_out(planned: PlannedRun, ranks: Ranks = ALONE, beside: Sequence[Wanted] = ()) -> Outcome | None:
    """Carry out a run as it is planned.

    A finished run is read back; an interrupted one goes on with the states that the store has and from the last
    snapshot of its training. Of several processes (`ranks`) each extracts its part; the first one alone goes on to
    learn and to record, and the others return None. Raises UserError for whatever the user can fix.

    beside: what other runs will read of the upstream's states, which are stored in the same pass.
    """
    if planned.recipe.finetune is not None:  # another flow, with the same data, heads, scores and record
        return fine_tuned(planned, ranks)
    phases, options, upstream = Phases(planned.reading), planned.options, planned.upstream
    before = finished_before(planned, ranks)
    if before is not None and not (options.final and lacks_final_head(before.result)):
        if ranks.main:
            tidy(before.folder)
        return before if ranks.main else None
    task = planned.family.task(planned.dataset, upstream)
    known_before = list(task.caveats())  # raises where nothing can be learned
    plan = planned.plan()
    refuse_sharing_nothing(plan, ranks)
    folder = before.folder if before else planned.place.unstored if plan.fell_back else planned.place.stored
    earlier = begun(planned, folder, task, plan, known_before) if ranks.main and before is None else None

    phases.begin("extraction")
    source, extracted = prepare(upstream, planned.read, planned.crop, plan, options.progress, ranks, beside)
    if not ranks.main:
        return None
    if before is None:
        phases.begin("training")
        fits = earlier.fits if earlier is not None else learned(planned, task, source, folder)
        phases.begin("evaluation")
        scored = tested(planned, fits, task, source)
        norms = layer_norms(scored, planned.dataset, source)
        timing = phases.timing(planned.dataset, extracted + source.computed_seconds)
        taken_from = None if earlier is None else earlier.run
        made = made_of(planned, task, plan, fits, scored, norms, timing, taken_from)
        result = record_run(made, folder)
        tidy(folder)  # else the head of all data would find the snapshot of these
    else:
        result = before.result
    if options.final:
        result = with_final_head(result, planned, plan, source, folder)
    tidy(folder)
    return Outcome(result, folder, was_finished=False)


def begun(
    planned: PlannedRun, folder: Path, task: Task, plan: CachePlan, known_before: Sequence[str]
) -> Earlier | None:
    """Make the folder of a run and say what is known before it; return the heads that another run learned for it."""
    options = planned.options
    sign = planned.family.metrics[planned.recipe.select].sign
    earlier = None
    if planned.given is None:
        if not options.fresh:
            earlier = learned_before(folder, planned.place, planned.dataset, task, plan, sign)
        if earlier is None:
            refuse_learning(planned, folder)
    said = [plan.sentence] if plan.missing or plan.key is None else []
    make_folder(planned, folder, plan.fell_back, [*known_before, *said])
    return earlier


def learned(planned: PlannedRun, task: Task, source: StateSource, folder: Path) -> list[Fit]:
    """Learn all heads; return a fit for every config and fold. Given ones are scored on development, and no more."""
    if planned.given is not None:
        numbers = {fold.name: number for number, fold in enumerate(planned.dataset.split.folds)}
        heads = [(numbers[one.fold], one.config, one.step, one.head) for one in planned.given.heads]
        return score_given(heads, planned.recipe, planned.dataset, task, source, planned.upstream.device)
    snapshots = planned.snapshots(folder, planned.question.learned)
    to_learn = distinct(planned.configs, planned.upstream.num_layers)
    progress, device = planned.options.progress, planned.upstream.device
    return for_every_config(
        learn(planned.recipe, planned.dataset, task, source, to_learn, device, snapshots, progress), planned.configs
    )


def tested(planned: PlannedRun, fits: Sequence[Fit], task: Task, source: StateSource) -> list[ScoredHead]:
    """Choose heads by development and test them; raise UserError where none is left."""
    chosen = chosen_fits(planned, fits)
    return score_heads(chosen, planned.dataset, task, source, planned.recipe.split.test_parts, planned.upstream.device)


def with_final_head(result: Result, planned: PlannedRun, plan: CachePlan, source: StateSource, folder: Path) -> Result:
    """Learn a head from all data as development chose it, and record it; return the record.

    Raises UserError where its training diverges.
    """
    config, steps = final_config(result)
    whole = on_all_data(planned.dataset, planned.recipe.split.longer_than)
    task = planned.family.task(whole, planned.upstream)
    snapshots = planned.snapshots(folder, f"{planned.question.learned} final")
    device, progress = planned.upstream.device, planned.options.progress
    (fit,) = learn(planned.recipe, whole, task, source, [config], device, snapshots, progress, stop_at=steps)
    if not fit.weights:
        raise UserError(
            f"The head of all data diverged within {steps} steps, though those of the folds did not; the run is "
            "recorded without it. Lower the learning rate, or leave --final out."
        )
    return record_final(result, fit, task, whole, plan.reduction, planned.options, folder)


def run_named(
    recipe: str | Path | Recipe,
    upstream: str | Upstream,
    options: Options,
    *,
    overrides: Sequence[str] = (),
    loading: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
    corpus: str | Corpus | None = None,
) -> Outcome | None:
    """Load what was named and carry it out; `wavprobe run` and `downstream.run` both come here.

    recipe: a name, the path of a YAML file, or a recipe. upstream: a name, as `upstream.load` takes it, or an upstream.
    overrides: "key=value" of the recipe. loading: further arguments of `upstream.load`, for a name.
    corpus: the name of another one than the recipe's, or one that was read already; None for the recipe's.
    """
    chosen, changed = chosen_recipe(recipe, overrides, corpus)
    given = corpus if isinstance(corpus, Corpus) else None
    encoder = upstream if isinstance(upstream, Upstream) else load(upstream, **(loading or {}))
    with logging_redirect_tqdm(), errors_named(chosen.task):  # what is logged appears above the progress bar, not in it
        return run(encoder, chosen, replace(options, overrides=changed), ranks, given)


def chosen_recipe(
    recipe: str | Path | Recipe, overrides: Sequence[str], corpus: str | Corpus | None = None
) -> tuple[Recipe, tuple[str, ...]]:
    """Return a recipe on a corpus with overrides, and what it changes of the shipped one of its name; see `run_named`.

    Raises UserError as `load_recipe` does.
    """
    if corpus is not None:
        overrides = [f"corpus.name={corpus.name if isinstance(corpus, Corpus) else corpus}", *overrides]
    if not isinstance(recipe, Recipe):
        chosen, changed = load_overridden(recipe, overrides)
        return chosen, (*changed, *unnamed_differences(chosen, changed))
    content, kind = recipe.model_dump(mode="json"), type(recipe)
    overrides = completed(overrides, content)
    chosen = validated(overridden(content, overrides, kind), kind, f"Recipe {recipe.name}")
    return chosen, differences(chosen) or effective(content, overrides, kind)


def refuse_sharing_nothing(plan: CachePlan, ranks: Ranks) -> None:
    """Raise UserError where several processes were started to fill a store that is not to be filled."""
    if plan.key is None and ranks.world > 1:
        raise UserError(
            f"{plan.sentence} Several processes share an extraction into the store and nothing else: start one alone, "
            "or make room for the states."
        )
