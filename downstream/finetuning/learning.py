"""Fine-tuning of every fold and config, one after the other, since each needs the memory of a whole encoder.

What is finished is kept in the run's folder at once, the encoder in its place and its head beside it, so that a run
that is interrupted goes on with the fold at which it was.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

from tqdm import tqdm

from downstream.data import development_part
from downstream.finetuning.encoders import Kept
from downstream.finetuning.learner import FineTuning
from downstream.finetuning.settings import settings_of
from downstream.planned_run import PlannedRun
from downstream.run_steps import chosen_fits
from downstream.states import Computed
from downstream.tasks import Task
from downstream.training import (
    Bar,
    Config,
    Fit,
    FoldData,
    Snapshots,
    fitted_heads,
    order_of,
    told,
    train,
    under,
)
from upstream.ranks import Ranks

logger = logging.getLogger("wavprobe")

# Seconds between two looks at the clock. Audio is decoded ahead within them alone.
STRETCH_SECONDS = 5.0


def learned(planned: PlannedRun, task: Task, kept: Kept, ranks: Ranks) -> tuple[list[Fit], float]:
    """Learn the encoder and the head of every config on every fold.

    Returns the fits, with the weights of heads alone, and the seconds of audio that were encoded for them. What other
    processes than the first return is of no use.

    Raises UserError as soon as a fold has left nothing for the primary score, without learning the folds after it.
    """
    fits: list[Fit] = []
    seconds = 0.0
    for fold in range(len(planned.dataset.split.folds)):
        for config in planned.configs:
            found = kept.fit(fold, config) if ranks.main else None
            if not told(found is not None, ranks):
                found, own = learn_one(planned, task, fold, config, kept, ranks)
                seconds += own
            fits.append(found or Fit(fold, config))
            if ranks.main:
                kept.drop_worse(fits)
        if ranks.main:
            chosen_fits(planned, fits)
    return fits, seconds


def learn_one(
    planned: PlannedRun, task: Task, fold: int, config: Config, kept: Kept, ranks: Ranks
) -> tuple[Fit, float]:
    """Learn one encoder and its head, and keep what development chose of them; see `learned`."""
    descent, settings = settings_of(planned.recipe)
    dataset, upstream, folds = planned.dataset, planned.upstream, planned.dataset.split.folds
    own, needs = task.of_fold(folds[fold].train), planned.family.needs()
    (head,) = fitted_heads(own, [config], folds[fold].train, Computed(upstream, dataset.items, needs), upstream.device)
    learner = FineTuning(fold, config, own, head, upstream, dataset, descent, settings, needs, ranks)
    data = [FoldData(order_of(one, dataset, descent.training), development_part(one)) for one in folds]
    seconds = planned.options.snapshot_seconds if ranks.main else math.inf  # the others only read it
    snapshots = Snapshots(kept.snapshot, seconds, f"{planned.question.learned} {kept.name(fold, config)}")
    training, metric = descent.training, task.metrics[descent.select]
    progress: tqdm[Any]
    described = f"fine-tuning {kept.name(fold, config)}"
    with tqdm(total=training.steps, desc=described, unit=" updates", disable=not planned.options.progress) as progress:
        (fit,) = train(
            [learner], data, task, training, descent.select, snapshots, Bar(progress, learner, metric), STRETCH_SECONDS
        )
    logger.info("fold %d, %s: step %d, development %.4f", fold, config, fit.step, fit.development)
    weights, fit.weights = fit.weights, under(fit.weights, "head.")
    if ranks.main:
        kept.keep(fit, partial(learner.save, weights=weights))
    return fit, learner.audio_seconds
