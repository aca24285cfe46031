"""`run_suite`: a suite and upstreams to what came of them; `wavprobe run` and `downstream.run_suite` both come here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tqdm import tqdm

from downstream.leaderboards import write_leaderboard
from downstream.recipes import Options
from downstream.suites.carrying_out import Loader, SuiteOutcome, SuiteRun, runs_of
from downstream.suites.places import Places
from downstream.suites.reading import Readable, Unreadable, choose_recipes, read_all, said_of
from downstream.suites.suite import Suite
from upstream.base import Upstream
from upstream.catalog import load, loading_of_each, refuse_unknown
from upstream.errors import UserError
from upstream.ranks import ALONE, Ranks

PAGES = "leaderboard"  # folder below the results


def run_suite(
    suite: Suite,
    upstreams: Sequence[str | Upstream],
    options: Options,
    *,
    places: Places | None = None,
    overrides: Sequence[str] = (),
    loading: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
    told: Callable[[SuiteRun], None] = lambda run: None,
) -> SuiteOutcome:
    """Carry out every recipe of a suite on every upstream; return what came of each.

    What cannot be run is said before anything is computed, and does not stop the rest; nor does what fails. Finished
    runs are read back, interrupted ones go on. Each utterance goes through each upstream once. In the end a leaderboard
    page of the records is written below the results.

    overrides: of all recipes that have their keys. told: is called after each run.
    Raises UserError for names, settings and overrides that are wrong, before anything is computed.
    """
    loaders = loaders_of(upstreams, loading or {})
    readable, unreadable = begun(suite, options, places or Places(), overrides, ranks)
    outcome = SuiteOutcome(suite, unreadable=unreadable)
    for run in runs_of(readable, loaders, ranks):
        outcome.runs.append(run)
        told(run)
    if ranks.main and outcome.outcomes:
        folders = [one.folder for one in outcome.outcomes]
        outcome.page = write_leaderboard(folders, options.results / PAGES, suite.title or suite.name).page
    return outcome


def begun(
    suite: Suite, options: Options, places: Places, overrides: Sequence[str], ranks: Ranks = ALONE
) -> tuple[list[Readable], list[Unreadable]]:
    """Read the corpora of a suite, and say what cannot be run; return what can, and what cannot."""
    if options.folder is not None:
        raise UserError("-p names the folder of one run, and here are several; leave it out, or choose --results.")
    chosen, notes = choose_recipes(suite, overrides)
    readable, unreadable = read_all(suite, chosen, places, options)
    for sentence in (*notes, *said_of(unreadable)) if ranks.main and options.progress else ():
        tqdm.write(sentence, file=sys.stderr)
    return readable, unreadable


def loaders_of(upstreams: Sequence[str | Upstream], loading: Mapping[str, Any]) -> dict[str, Loader]:
    """Return what loads each upstream, by its name; raise UserError for a name that is of none, and for none at all."""
    if not upstreams:
        raise UserError("A suite needs an upstream; for example wavlm_base.")
    of_each = loading_of_each([one for one in upstreams if isinstance(one, str)], loading)
    loaders: dict[str, Loader] = {}
    for upstream in upstreams:
        if isinstance(upstream, Upstream):
            loaders[upstream.name] = partial(loaded, upstream)
        else:
            refuse_unknown(upstream)
            loaders[upstream] = partial(load, upstream, **of_each[upstream])
    return loaders


def loaded(upstream: Upstream) -> Upstream:
    """Return an upstream that is in memory already."""
    return upstream
