"""`wavprobe run`: one upstream, one recipe, one result; or every recipe of a suite on one upstream or several."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from downstream.cli import plot, s3prl_flags
from downstream.cli.run_arguments import add_arguments
from downstream.cli.run_options import chosen, loading, refuse_missing, upstream_of
from upstream.errors import UserError

if TYPE_CHECKING:
    from downstream.run_steps import Outcome
    from upstream.ranks import Ranks

__all__ = ["add_arguments", "run"]


def run(options: argparse.Namespace) -> int:
    """Load upstream and recipe, run them, show the result."""
    if options.list:
        from downstream.cli import listing

        return listing.run(options)
    notes = s3prl_flags.applied(options, add_arguments)
    refuse_recipe_among_upstreams(options.upstream or ())
    refuse_missing(options)
    if options.finetune:
        ask_to_finetune(options)

    from downstream.cli import suite
    from upstream import ranks

    own_rank = ranks.current()  # several processes share the extraction under torchrun
    own_rank.claim_gpu(options.device)
    own_rank.meet()
    for note in notes if own_rank.main else ():
        print(f"note: {note}", file=sys.stderr)
    if (several := suite.asked_for(options)) is not None:
        if options.head_from:
            raise UserError("--head-from is of one upstream and one recipe: type one after -u and one after -d.")
        return suite.run(several, options, own_rank)
    return run_one(options, own_rank)


def refuse_recipe_among_upstreams(upstreams: Sequence[str]) -> None:
    """Raise UserError for a recipe that was typed behind an upstream, without -d."""
    from downstream.recipes import recipe_names, suite_names
    from upstream.names import by_spelling

    for name in upstreams[1:]:
        if name in (*recipe_names(), *suite_names()) and by_spelling(name) is None:
            raise UserError(f"{name} is a recipe, which goes after -d: -u {upstreams[0]} -d {name}.")


def ask_to_finetune(options: argparse.Namespace) -> None:
    """Put --finetune into the overrides, before what is said of it there."""
    from downstream.recipes import WITH_DEFAULTS

    options.override = [WITH_DEFAULTS, *options.override]


def run_one(options: argparse.Namespace, own_rank: Ranks) -> int:
    """Run one upstream on one recipe, and show the result."""
    from downstream.recipes import note_on_name
    from downstream.report import show
    from downstream.results import RECORD, UnwrittenError
    from upstream.terminal import console

    try:
        outcome = carried_out(options, own_rank)
    except UnwrittenError as error:
        show(error.result, None, console())
        raise
    if outcome is None:  # another rank records
        return 0
    show(outcome.result, outcome.folder, console())
    if options.plots:
        plot.draw(outcome.folder / RECORD)
    if other := note_on_name(options.downstream[0]):
        print(f"note: {other}")
    if outcome.was_finished:
        print("This run was finished before; nothing was computed. Add --fresh to run it again.")
    return 0


def carried_out(options: argparse.Namespace, own_rank: Ranks) -> Outcome | None:
    """Carry out what was typed; return None in a process whose results another one records."""
    from downstream.experiment import run_named
    from downstream.suites import parse_places

    (recipe,) = options.downstream
    places = parse_places(options.data)
    data = places.of_recipe(recipe, options.override, options.corpus) if places.folders else places.root
    return run_named(
        recipe,
        upstream_of(options),
        chosen(options, own_rank, data),
        overrides=options.override,
        loading=loading(options),
        ranks=own_rank,
        corpus=options.corpus,
    )
