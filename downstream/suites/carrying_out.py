"""All runs of a suite: each utterance goes through each upstream once, and what fails does not stop the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.experiment import carry_out
from downstream.planned_run import PlannedRun
from downstream.results import finished
from downstream.run_steps import Outcome
from downstream.states import CachePlan
from downstream.suites.reading import Readable, Unreadable
from downstream.suites.suite import Suite
from downstream.tasks import errors_named
from upstream.base import Upstream
from upstream.command_line import USER_ERROR, explained
from upstream.errors import UserError, sentence
from upstream.extract import Wanted
from upstream.ranks import ALONE, Ranks
from upstream.sizes import free_space

logger = logging.getLogger("wavprobe")

Loader = Callable[[], Upstream]


@dataclass(frozen=True)
class SuiteRun:
    """One recipe of a suite on one upstream, and what came of it.

    recipe: of the suite's list. upstream: as it was named.
    outcome: None where it failed. why: the reason then. status: the exit status that goes with it, 0 if it went well.
    """

    recipe: str
    upstream: str
    outcome: Outcome | None = None
    why: str = ""
    status: int = 0


@dataclass
class SuiteOutcome:
    """What came of a suite.

    runs: in the order in which they were carried out. unreadable: recipes that could not be run at all.
    page: the leaderboard page of the records; None where there are none.
    """

    suite: Suite
    runs: list[SuiteRun] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    page: Path | None = None

    @property
    def outcomes(self) -> list[Outcome]:
        """Those of the runs that ended well."""
        return [run.outcome for run in self.runs if run.outcome is not None]

    @property
    def status(self) -> int:
        """The exit status: 0 where everything ran, 1 where something nobody had foreseen happened, else 2."""
        found = {run.status for run in self.runs} | ({USER_ERROR} if self.unreadable else set())
        return 1 if 1 in found else max(found, default=0)


def runs_of(readable: Sequence[Readable], upstreams: dict[str, Loader], ranks: Ranks = ALONE) -> Iterator[SuiteRun]:
    """Carry out every recipe on every upstream, one after another, and yield what came of each.

    upstreams: what loads each, by the name that the user gave it; one is in memory at a time.
    """
    for name, load in upstreams.items():
        try:
            upstream = load()
        except UserError as error:
            yield from (SuiteRun(one.label, name, why=str(error), status=USER_ERROR) for one in readable)
            continue
        yield from runs_of_one(readable, name, upstream, ranks, is_first=name == next(iter(upstreams)))
        del upstream  # before the next one is loaded


def runs_of_one(
    readable: Sequence[Readable], name: str, upstream: Upstream, ranks: Ranks, is_first: bool
) -> Iterator[SuiteRun]:
    """Carry out every recipe on one upstream."""
    planned: dict[str, PlannedRun] = {}
    failed: dict[str, SuiteRun] = {}
    for one in readable:
        try:
            planned[one.label] = PlannedRun.of(upstream, one.read if is_first else one.read.again(), one.options)
        except UserError as error:
            failed[one.label] = SuiteRun(one.label, name, why=str(error), status=USER_ERROR)
    plans = {label: plan for label, run in planned.items() if (plan := stored_plan(run)) is not None}
    plans = plans if fit_together(plans.values(), planned.values()) else {}
    for one in readable:
        if one.label in failed:
            yield failed[one.label]
            continue
        own = plans.pop(one.label, None)
        beside = [] if own is None else wanted_by(plans, planned, own)
        yield carried_out(planned[one.label], one.label, name, ranks, beside)


def carried_out(planned: PlannedRun, label: str, name: str, ranks: Ranks, beside: Sequence[Wanted]) -> SuiteRun:
    """Carry out one run; whatever it raises is its outcome, so that the others go on."""
    try:
        with logging_redirect_tqdm(), errors_named(planned.recipe.task):
            outcome = carry_out(planned, ranks, beside)
    except (UserError, OSError) as error:
        if ranks.world > 1:  # the other processes would wait for this one
            raise
        return SuiteRun(label, name, why=sentence(error), status=USER_ERROR)
    except Exception as error:
        if ranks.world > 1:
            raise
        logger.info("%s with %s", label, name, exc_info=True)  # the traceback, with -v
        status, why = explained(error)
        return SuiteRun(label, name, why=why, status=status)
    return SuiteRun(label, name, outcome)


# ---------------------------------------------------------------- states of several runs in one pass


def is_finished(planned: PlannedRun) -> bool:
    """Return True for a run that will only be read back."""
    return not planned.options.fresh and any(finished(folder, planned.question) for folder in planned.place.folders)


def stored_plan(planned: PlannedRun) -> CachePlan | None:
    """Return where a run will store states; None for one that is finished, stores none, or has no room for them."""
    if is_finished(planned):
        return None
    try:
        plan = planned.plan()
    except UserError:  # raised again, and reported, when it is the run's turn
        return None
    return plan if plan.key is not None else None


def fit_together(plans: Iterable[CachePlan], planned: Iterable[PlannedRun]) -> bool:
    """Return True where there is room for the states of all runs at once; each by itself has room."""
    runs = list(planned)
    if not runs:
        return True
    options = runs[0].options
    allowed = free_space(options.store) // 2 if options.store_limit is None else options.store_limit
    missing = {plan.key: plan.missing for plan in plans}
    return sum(missing.values()) <= allowed


def wanted_by(plans: Mapping[str, CachePlan], planned: Mapping[str, PlannedRun], own: CachePlan) -> list[Wanted]:
    """Return what later runs want of the upstream's states, beside those that a run stores itself."""
    found = []
    for label, plan in plans.items():
        if plan.key != own.key and (store := plan.open_store(planned[label].upstream.name)) is not None:
            found.append(Wanted.of(store, planned[label].upstream, planned[label].whole))
    return found
