"""A suite on the command line: its plan, each run as it ends, and in the end the rows and the leaderboard page."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from downstream.cli.run_options import chosen, loading, upstream_of
from upstream.command_line import USER_ERROR
from upstream.terminal import console
from upstream.text import printable

if TYPE_CHECKING:
    from downstream.suites import Suite, SuiteOutcome, SuiteRun
    from upstream.ranks import Ranks


def asked_for(options: argparse.Namespace) -> Suite | None:
    """Return the suite that was typed, or one of several recipes or upstreams; None for a single run."""
    from downstream.suites import is_suite, named_suite

    names = options.downstream
    if len(names) == len(options.upstream) == 1 and not options.plan and not is_suite(names[0]):
        return None
    return named_suite(names)


def run(suite: Suite, options: argparse.Namespace, own_rank: Ranks) -> int:
    """Carry out a suite, or say what it will take; return the exit status."""
    from downstream.suites import begun, loaders_of, parse_places, plans_of, run_suite

    upstreams = [upstream_of(options)] if len(options.upstream) == 1 else options.upstream
    overrides = [*([f"corpus.name={options.corpus}"] if options.corpus else []), *options.override]
    own, places = chosen(options, own_rank, None), parse_places(options.data)
    if options.plan:
        loaders = loaders_of(upstreams, loading(options))
        readable, unreadable = begun(suite, own, places, overrides)
        for shown in plans_of(readable, loaders) if readable else ():
            console().print(shown, soft_wrap=True)
        return USER_ERROR if unreadable else 0
    outcome = run_suite(
        suite,
        upstreams,
        own,
        places=places,
        overrides=overrides,
        loading=loading(options),
        ranks=own_rank,
        told=lambda one: tell(one, options) if own_rank.main else None,
    )
    if own_rank.main:
        conclude(outcome)
    return outcome.status


def tell(run: SuiteRun, options: argparse.Namespace) -> None:
    """Print a run that has just ended: its score, or why there is none."""
    from downstream.cli import plot
    from downstream.report import score_line
    from downstream.results import RECORD

    print(f"{run.recipe} with {printable(run.upstream)}")
    if run.outcome is None:
        print(f"  failed: {run.why}")
        return
    result = run.outcome.result
    print(f"  {score_line(result)}{'; finished before' if run.outcome.was_finished else ''}")
    for caveat in result.caveats:
        print(f"  note: {caveat}")
    print(f"  record {printable(str(run.outcome.folder / RECORD))}", flush=True)
    if options.plots:
        plot.draw(run.outcome.folder / RECORD)


def conclude(outcome: SuiteOutcome) -> None:
    """Print the rows, what was not run and why, and where the page lies."""
    from downstream.suites import rows_of

    for shown in rows_of(outcome):
        console().print(shown, soft_wrap=True)
    for one in outcome.unreadable:
        print(f"not run: {one.label}. {one.why}")
    for run in outcome.runs:
        if run.outcome is None:
            print(f"failed: {run.recipe} with {printable(run.upstream)}. {run.why}")
    if outcome.page is not None:
        print(f"page   {printable(str(outcome.page))}")
