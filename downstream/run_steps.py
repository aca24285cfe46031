"""The steps that a run has whether its encoder is frozen or learns.

What was finished before, its folder, the choice of what is tested, and what its record is made of.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from downstream.planned_run import PlannedRun
from downstream.results import FineTuning, Result, Run, Timing, begin, discard, finished
from downstream.states import CachePlan
from downstream.tasks import Task
from downstream.training import Chosen, Fit, ScoredHead, choose, clear_gain, refuse_divergence
from upstream.errors import UserError
from upstream.ranks import Ranks


@dataclass(frozen=True)
class Outcome:
    """A record, the folder it lies in, and whether an earlier run had already finished it."""

    result: Result
    folder: Path
    was_finished: bool


def finished_before(planned: PlannedRun, ranks: Ranks) -> Outcome | None:
    """Return the finished run of this question, if there is one; what there is is discarded where that is asked for."""
    place, options = planned.place, planned.options
    if ranks.main:
        place.refuse_other_content(options.fresh)
    for folder in place.folders:
        if options.fresh and ranks.main:
            discard(folder, place.is_named)
        elif not options.fresh and (result := finished(folder, planned.question)) is not None:
            return Outcome(result, folder, was_finished=True)
    return None


def refuse_learning(planned: PlannedRun, folder: Path) -> None:
    """Raise UserError where something would have to be learned, and the user asked for a finished run alone."""
    if not planned.options.may_learn:
        raise UserError(
            f"No finished run of this command is in {folder}. Type -m train, or leave -m evaluate out: a run learns "
            "and tests, and goes on where it was interrupted."
        )


def make_folder(planned: PlannedRun, folder: Path, is_unstored: bool, known_before: Sequence[str]) -> None:
    """Make the folder of a run, and say what is known before it."""
    planned.place.make(folder, is_unstored)
    begin(folder, planned.recipe, planned.options)
    for sentence in known_before if planned.options.progress else ():
        tqdm.write(sentence, file=sys.stderr)


def chosen_fits(planned: PlannedRun, fits: Sequence[Fit]) -> list[Chosen[Fit]]:
    """Choose by development what is tested; raise UserError where nothing is left for the primary score.

    Heads that were learned before are all tested.
    """
    if planned.given is not None:
        return [Chosen(planned.given.setting, fit) for fit in fits]
    metric = planned.family.metrics[planned.recipe.select]
    gains = [clear_gain(len(fold.dev), metric) for fold in planned.dataset.split.folds]
    chosen = choose(fits, planned.settings, gains)
    refuse_divergence(fits, any(one.setting == planned.settings[0] for one in chosen), planned.recipe)
    return chosen


def made_of(
    planned: PlannedRun,
    task: Task,
    plan: CachePlan,
    fits: Sequence[Fit],
    scored: Sequence[ScoredHead],
    norms: Sequence[float],
    timing: Timing,
    taken_from: str | None = None,
    finetuning: FineTuning | None = None,
) -> Run:
    """Return everything that the record is made of; taken_from: the run that learned the heads, None for this one."""
    return Run(
        planned.upstream,
        planned.recipe,
        planned.options,
        planned.family,
        task,
        planned.dataset,
        plan,
        planned.question.learned,
        planned.settings,
        fits,
        scored,
        norms,
        timing,
        taken_from,
        finetuning,
        planned.given,
    )
