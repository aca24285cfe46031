"""What the arguments of `wavprobe run` mean: its upstream, how that is loaded, and the options of each run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upstream.errors import UserError
from upstream.sizes import parse_size

if TYPE_CHECKING:
    from downstream.recipes import Options
    from upstream.base import Upstream
    from upstream.ranks import Ranks

LOADING = ("device", "dtype", "random_init", "seed")  # of an upstream, beside its name


def refuse_missing(options: argparse.Namespace) -> None:
    """Raise UserError where no upstream or recipe was typed, or an empty one, of a variable that is not set."""
    for names, flag in ((options.upstream, "-u UPSTREAM"), (options.downstream, "-d RECIPE")):
        if not names or not all(names):
            raise UserError(f"{flag} is missing; for example: -u wavlm_base -d emotion.")


def loading(options: argparse.Namespace) -> dict[str, Any]:
    """Return how an upstream is loaded, beside its name."""
    return {name: getattr(options, name) for name in LOADING}


def upstream_of(options: argparse.Namespace) -> str | Upstream:
    """Return the one upstream by its name, or loaded from the checkpoint of -k."""
    (name,) = options.upstream
    if options.upstream_ckpt is None:
        return str(name)
    from downstream.cli.s3prl_checkpoint import load_checkpoint

    return load_checkpoint(name, options.upstream_ckpt, **loading(options))


def chosen(options: argparse.Namespace, own_rank: Ranks, data: Path | None) -> Options:
    """Return the options of a run; data: folder of its corpus."""
    from downstream.recipes import Options

    return Options(
        data=data,
        name=options.name,
        folder=options.folder,
        results=options.results,
        store=options.store,
        store_limit=None if options.store_limit is None else parse_size(options.store_limit),
        seed=options.seed,
        layer=options.layer,
        fresh=options.fresh,
        final=options.final,
        head_from=tuple(options.head_from),
        may_learn=options.mode != "evaluate",
        check_audio=options.check_audio,
        snapshot_seconds=options.snapshot_seconds,
        command=options.command,
        progress=own_rank.main,
    )
