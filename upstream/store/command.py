"""Manage the stored hidden states.

wavprobe store list
wavprobe store estimate -u wavlm_large --hours 100
wavprobe store verify
wavprobe store prune --older-than 30 --yes
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from upstream.arguments import count, folder, not_negative, positive
from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.files import DEFAULT_STORE, STATES
from upstream.sizes import free_space, parse_size, readable
from upstream.text import counted

if TYPE_CHECKING:
    from rich.console import Console

DESCRIPTION = "Manage the stored hidden states."
TYPICAL_SECONDS = 5.0  # of an utterance, if --utterances is not given: between IEMOCAP and LibriSpeech


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands list, estimate, verify and prune, and their options. Imports no heavy package."""
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--store",
        type=folder,
        default=DEFAULT_STORE,
        metavar="DIR",
        help=f"folder of hidden states, as for `wavprobe run` (default {DEFAULT_STORE})",
    )
    add_verbose(store)
    commands = parser.add_subparsers(dest="store_command", required=True, metavar="list|estimate|verify|prune")

    commands.add_parser("list", parents=[store], help="list the stores")

    estimate = commands.add_parser("estimate", parents=[store], help="estimate the size of a corpus on disk")
    estimate.add_argument("-u", "--upstream", required=True, help="as for `wavprobe run`")
    estimate.add_argument("--hours", type=positive, required=True, metavar="H", help="hours of audio")
    estimate.add_argument(
        "--utterances",
        type=count,
        metavar="N",
        help=f"number of utterances (default: from a duration of {TYPICAL_SECONDS:g} s each)",
    )

    commands.add_parser(
        "verify", parents=[store], help="read every shard and remove damaged ones; exit status 1 if there are any"
    )

    prune = commands.add_parser(
        "prune",
        parents=[store],
        help="remove stores, and leftovers of interrupted runs",
        description="Remove the stores that meet all given conditions (none without a condition), and leftovers of "
        "interrupted or simultaneous runs. Only shows them; removes them with --yes.",
    )
    prune.add_argument("--older-than", type=not_negative, metavar="DAYS", help="not used for this long")
    prune.add_argument("--upstream", metavar="NAME", help="of this upstream")
    prune.add_argument(
        "--keep", metavar="SIZE", help="least recently used first, until the rest is no larger, such as 50GB"
    )
    prune.add_argument("--all", action="store_true", help="every store")
    prune.add_argument("--yes", action="store_true", help="remove instead of only showing")


def run(options: argparse.Namespace) -> int:
    """Run the chosen subcommand; return its exit status.

    Raises UserError and OSError for errors that the user can fix.
    """
    from upstream.terminal import console

    commands = {"list": show_stores, "estimate": show_estimate, "verify": verify_stores, "prune": prune_stores}
    return commands[options.store_command](options, console())


def show_stores(options: argparse.Namespace, console: Console) -> int:
    """Print a table of the stores."""
    from rich.markup import escape
    from rich.table import Column

    from upstream.store.housekeeping import survey
    from upstream.terminal import plain_table

    stores = survey(options.store / STATES)
    if not stores:
        say(console, f"No hidden states are stored in {options.store / STATES}.")
        return 0
    table = plain_table(
        Column("upstream", overflow="fold"),
        "reduction",
        "codec",
        "dtype",
        Column("utterances", justify="right"),
        Column("size", justify="right"),
        "last used",
    )
    for store in stores:
        utterances = store.utterances()
        table.add_row(
            escape(store.upstream or "?"),
            *((store.key.reduction, store.key.codec, store.key.dtype) if store.key else ("another version", "?", "?")),
            "?" if utterances is None else f"{utterances:,}",
            readable(store.nbytes),
            local_time(store.last_used),
        )
    table.add_section()
    table.add_row("total", "", "", "", "", readable(sum(store.nbytes for store in stores)), "")
    say(console, f"hidden states in {options.store / STATES}")
    console.print(table)
    return 0


def show_estimate(options: argparse.Namespace, console: Console) -> int:
    """Print the size of a corpus for each reduction and codec."""
    from rich.table import Column

    from upstream.catalog import load_for_sizes
    from upstream.store.codecs import CODECS
    from upstream.store.key import StoreKey
    from upstream.store.shards import estimate_bytes
    from upstream.terminal import plain_table

    encoder = load_for_sizes(options.upstream)
    utterances = options.utterances or max(1, round(options.hours * 3600 / TYPICAL_SECONDS))
    seconds = options.hours * 3600 / utterances
    free = free_space(options.store)
    table = plain_table("reduction", "codec", Column("size", justify="right"), "")
    means = StoreKey.of(encoder)
    statistics = replace(means, reduction="statistics")
    for key in [means, statistics, *(replace(means, reduction="frames", codec=codec) for codec in CODECS)]:
        nbytes = estimate_bytes(key, encoder.stride, [seconds]) * utterances
        table.add_row(key.reduction, key.codec, readable(nbytes), "does not fit" if nbytes > free else "")
    say(console, f"{encoder.name}: {options.hours:g} h of audio, {utterances:,} utterances of {seconds:.3g} s")
    console.print(table)
    say(console, f"{readable(free)} are free on the disk of {options.store}.")
    return 0


def verify_stores(options: argparse.Namespace, console: Console) -> int:
    """Read every shard, remove damaged ones and print them; return 1 if there were any."""
    from upstream.store.housekeeping import survey, verify

    stores = survey(options.store / STATES)
    shards = sum(len(store.shards()) for store in stores)
    damaged = verify(stores, progress=True)
    for shard in damaged:
        outcome = f"could not be removed: {shard.kept}" if shard.kept else "removed"
        say(console, f"damaged: {shard.path.name} ({shard.store.describe()}), {outcome}")
    sound = shards - len(damaged)
    say(
        console,
        f"{counted(shards, 'shard')} in {counted(len(stores), 'store')}: {sound} sound, {len(damaged)} damaged.",
    )
    return 1 if damaged else 0


def prune_stores(options: argparse.Namespace, console: Console) -> int:
    """Print the stores and leftovers to remove, and remove them with --yes."""
    from upstream.store.housekeeping import choose, remove, survey, unneeded
    from upstream.unfinished import remove_leftover

    conditions = (options.older_than, options.upstream, options.keep)
    if options.all and any(condition is not None for condition in conditions):
        raise UserError("--all cannot be combined with other conditions; leave it out, or the others.")
    stores = survey(options.store / STATES)
    chosen = choose(
        stores,
        older_than=options.older_than,
        upstream=options.upstream,
        keep=None if options.keep is None else parse_size(options.keep),
        everything=options.all,
    )
    rest = unneeded(options.store, [store for store in stores if store not in chosen], chosen)
    verb = "removed" if options.yes else "would remove"
    for store in chosen:
        if options.yes:
            remove(store)
        say(console, f"{verb} {store.describe()}: {readable(store.nbytes)}, last used {local_time(store.last_used)}")
    for path, nbytes in rest:
        if options.yes:
            remove_leftover(path)
        say(console, f"{verb} leftover {path.relative_to(options.store)}: {readable(nbytes)}")
    freed = sum(store.nbytes for store in chosen) + sum(nbytes for _, nbytes in rest)
    if not chosen and not rest:
        say(console, "Nothing to remove.")
    elif options.yes:
        say(console, f"{readable(freed)} freed.")
    else:
        say(console, f"{readable(freed)} would be freed. Nothing was removed; add --yes to remove it.")
    return 0


def say(console: Console, line: str) -> None:
    """Print a line without wrapping or markup, so that it can be searched and copied."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def local_time(seconds: float) -> str:
    """Format seconds since 1970 in local time; a question mark for a time beyond the calendar."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "?"
