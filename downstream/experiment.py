"""One upstream, one recipe, one result: the flow from a corpus to a record. Read it first."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.data import Corpus, read_dataset
from downstream.recipes import Options, Recipe, effective, overridden, validated
from downstream.results import (
    SNAPSHOT,
    Earlier,
    Place,
    Question,
    Result,
    Run,
    Timing,
    begin,
    discard,
    finished,
    learned_before,
    record_run,
    tidy,
)
from downstream.states import CachePlan, plan_cache, prepare, read_whole
from downstream.tasks import differences, errors_named, family_of, load_overridden
from downstream.training import (
    Snapshots,
    choose,
    configs,
    distinct,
    for_every_config,
    layer_settings,
    learn,
    refuse_divergence,
    score_heads,
)
from upstream.base import Upstream
from upstream.catalog import load
from upstream.encode import seconds_of
from upstream.errors import UserError
from upstream.files import STATES
from upstream.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Outcome:
    """A record, the folder it lies in, and whether an earlier run had already finished it."""

    result: Result
    folder: Path
    was_finished: bool


def run(
    upstream: Upstream, recipe: Recipe, options: Options, ranks: Ranks = ALONE, corpus: Corpus | None = None
) -> Outcome | None:
    """Carry out a recipe, on a corpus that was read already if there is one.

    A finished run is read back; an interrupted one goes on with the states that the store has and from the last
    snapshot of its training. Of several processes (`ranks`) each extracts its part; the first one alone goes on to
    learn and to record, and the others return None. Raises UserError for whatever the user can fix.
    """
    began = time.perf_counter()
    settings = layer_settings(recipe, upstream.num_layers, options.layer)
    heads = configs(recipe, settings, upstream.num_layers, options.seed)
    family = family_of(recipe)
    dataset = read_dataset(recipe, family, options.data, options.store, options.progress, options.check_audio, corpus)
    question = Question.of(upstream, recipe, family, dataset, options)
    place = Place.of(question, upstream, recipe, dataset, options)
    if ranks.main:
        place.refuse_other_content(options.fresh)
    for folder in place.folders:
        if options.fresh and ranks.main:
            discard(folder, place.is_named)
        elif not options.fresh and (result := finished(folder, question)) is not None:
            if not ranks.main:
                return None
            tidy(folder)
            return Outcome(result, folder, was_finished=True)
    task = family.task(dataset, upstream)
    known_before = list(task.caveats())  # raises where nothing can be learned
    crop = recipe.learned.training.crop if recipe.learned else None
    whole = [dataset.items[index] for index in read_whole(dataset, crop)]
    plan = plan_cache(
        recipe.store,
        family.needs(),
        upstream,
        whole,
        options.store / STATES,
        options.store_limit,
        began_without=not options.fresh and place.began_unstored(),
    )
    refuse_sharing_nothing(plan, ranks)
    folder = place.unstored if plan.fell_back else place.stored
    if ranks.main:
        sign = family.metrics[recipe.select].sign
        earlier = None if options.fresh else learned_before(folder, place, dataset, task, plan, sign)
        refuse_learning(earlier, folder, options)
        place.make(folder, plan.fell_back)
        begin(folder, recipe, options)
        known_before += [plan.sentence] if plan.missing or plan.key is None else []
        for sentence in known_before if options.progress else ():
            tqdm.write(sentence, file=sys.stderr)

    began_extraction = time.perf_counter()
    source, extracted = prepare(upstream, dataset, crop, plan, options.progress, ranks)
    if not ranks.main:
        return None
    began_training = time.perf_counter()
    snapshots = Snapshots(folder / SNAPSHOT, options.snapshot_seconds, question.learned)
    if earlier is None:
        to_learn = distinct(heads, upstream.num_layers)
        learned = learn(recipe, dataset, task, source, to_learn, upstream.device, snapshots, options.progress)
        fits = for_every_config(learned, heads)
    else:
        fits = earlier.fits
    began_evaluation = time.perf_counter()
    chosen = choose(fits, settings)
    refuse_divergence(fits, any(one.setting == settings[0] for one in chosen), recipe)
    scored = score_heads(chosen, dataset, task, source, recipe.split.test_parts, upstream.device)
    timing = Timing(
        reading=began_extraction - began,
        extraction=began_training - began_extraction,
        training=began_evaluation - began_training,
        evaluation=time.perf_counter() - began_evaluation,
        audio_seconds=seconds_of([dataset.items[index] for index in dataset.split.used]),
        extracted_audio_seconds=extracted + source.computed_seconds,
    )
    run = Run(
        upstream,
        recipe,
        options,
        family,
        task,
        dataset,
        plan,
        question.learned,
        settings,
        fits,
        scored,
        timing,
        taken_from=None if earlier is None else earlier.run,
    )
    result = record_run(run, folder)
    tidy(folder)
    return Outcome(result, folder, was_finished=False)


def run_named(
    recipe: str | Path | Recipe,
    upstream: str | Upstream,
    options: Options,
    *,
    overrides: Sequence[str] = (),
    loading: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
    corpus: Corpus | None = None,
) -> Outcome | None:
    """Load what was named and carry it out; `wavprobe run` and `downstream.run` both come here.

    recipe: a name, the path of a YAML file, or a recipe. upstream: a name, as `upstream.load` takes it, or an upstream.
    overrides: "key=value" of the recipe. loading: further arguments of `upstream.load`, for a name.
    corpus: one that was read already, whose name the recipe then has; None to read the recipe's.
    """
    if isinstance(recipe, Recipe):
        content, kind = recipe.model_dump(mode="json"), type(recipe)
        chosen = validated(overridden(content, overrides, kind), kind, f"Recipe {recipe.name}")
        changed = differences(chosen) or effective(content, overrides, kind)
    else:
        chosen, changed = load_overridden(recipe, overrides)
    encoder = upstream if isinstance(upstream, Upstream) else load(upstream, **(loading or {}))
    with logging_redirect_tqdm(), errors_named(chosen.task):  # what is logged appears above the progress bar, not in it
        return run(encoder, chosen, replace(options, overrides=changed), ranks, corpus)


def refuse_learning(earlier: Earlier | None, folder: Path, options: Options) -> None:
    """Raise UserError where heads would have to be learned, and the user asked for a finished run alone."""
    if earlier is None and not options.may_learn:
        raise UserError(
            f"No finished run of this command is in {folder}. Type -m train, or leave -m evaluate out: a run learns "
            "and tests, and goes on where it was interrupted."
        )


def refuse_sharing_nothing(plan: CachePlan, ranks: Ranks) -> None:
    """Raise UserError where several processes were started to fill a store that is not to be filled."""
    if plan.key is None and ranks.world > 1:
        raise UserError(
            f"{plan.sentence} Several processes share an extraction into the store and nothing else: start one alone, "
            "or make room for the states."
        )
