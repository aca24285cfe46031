"""`wavprobe run`: one upstream, one recipe, one result."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from downstream.cli import plot, s3prl_flags
from downstream.cli.run_arguments import add_arguments
from upstream.errors import UserError
from upstream.sizes import parse_size

if TYPE_CHECKING:
    from downstream.experiment import Outcome
    from upstream.ranks import Ranks

__all__ = ["add_arguments", "run"]

LOADING = ("device", "dtype", "random_init", "seed")  # of an upstream, beside its name


def run(options: argparse.Namespace) -> int:
    """Load upstream and recipe, run them, show the result."""
    if options.list:
        from downstream.cli import listing

        return listing.run(options)
    notes = s3prl_flags.applied(options, add_arguments)
    for name, flag in ((options.upstream, "-u UPSTREAM"), (options.downstream, "-d RECIPE")):
        if not name:
            raise UserError(f"{flag} is missing; for example: -u wavlm_base -d emotion.")

    from downstream.recipes import note_on_name
    from downstream.report import show
    from downstream.results import RECORD, UnwrittenError
    from upstream import ranks
    from upstream.terminal import console

    own_rank = ranks.current()  # several processes share the extraction under torchrun
    own_rank.claim_gpu(options.device)
    own_rank.meet()
    for note in notes if own_rank.main else ():
        print(f"note: {note}", file=sys.stderr)
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
    if other := note_on_name(options.downstream):
        print(f"note: {other}")
    if outcome.was_finished:
        print("This run was finished before; nothing was computed. Add --fresh to run it again.")
    return 0


def carried_out(options: argparse.Namespace, own_rank: Ranks) -> Outcome | None:
    """Carry out what was typed; return None in a process whose results another one records."""
    from downstream.experiment import run_named
    from downstream.recipes import Options

    loading = {name: getattr(options, name) for name in LOADING}
    upstream = options.upstream
    if options.upstream_ckpt is not None:
        from downstream.cli.s3prl_checkpoint import load_checkpoint

        upstream = load_checkpoint(options.upstream, options.upstream_ckpt, **loading)
    chosen = Options(
        data=options.data,
        name=options.name,
        folder=options.folder,
        results=options.results,
        store=options.store,
        store_limit=None if options.store_limit is None else parse_size(options.store_limit),
        seed=options.seed,
        layer=options.layer,
        fresh=options.fresh,
        final=options.final,
        may_learn=options.mode != "evaluate",
        check_audio=options.check_audio,
        snapshot_seconds=options.snapshot_seconds,
        command=options.command,
        progress=own_rank.main,
    )
    return run_named(
        options.downstream,
        upstream,
        chosen,
        overrides=options.override,
        loading=loading,
        ranks=own_rank,
        corpus=options.corpus,
    )
