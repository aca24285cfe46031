"""Look after the stored hidden states.

python -m upstream.store list
python -m upstream.store estimate -u wavlm_large --hours 100
python -m upstream.store verify
python -m upstream.store prune --older-than 30 --yes
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column

import upstream
from upstream.arguments import count, not_negative, positive
from upstream.base import Upstream
from upstream.catalog import NAMED
from upstream.errors import MendableError, sentence
from upstream.files import DEFAULT_STORE, STATES
from upstream.sizes import free_space, parse_size, readable
from upstream.store.codecs import CODECS
from upstream.store.housekeeping import choose, leftovers, present, remove, survey, verify
from upstream.store.key import StoreKey
from upstream.store.shards import estimate_bytes
from upstream.terminal import console as standard_output
from upstream.terminal import plain_table

PROGRAM = "python -m upstream.store"
TYPICAL_SECONDS = 5.0  # of an utterance, where nobody says how many there are: between IEMOCAP and LibriSpeech


def parser() -> argparse.ArgumentParser:
    """The command line."""
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--store",
        type=Path,
        default=DEFAULT_STORE,
        metavar="DIR",
        help=f"folder of hidden states, as run_downstream.py takes it (default {DEFAULT_STORE})",
    )
    made = argparse.ArgumentParser(prog=PROGRAM, description="Look after the stored hidden states.")
    commands = made.add_subparsers(dest="command", required=True, metavar="list|estimate|verify|prune")

    commands.add_parser("list", parents=[place], help="what is stored")

    estimate = commands.add_parser("estimate", parents=[place], help="what a corpus will take on disk")
    estimate.add_argument("-u", "--upstream", required=True, help="as run_downstream.py takes it")
    estimate.add_argument("--hours", type=positive, required=True, metavar="H", help="of audio")
    estimate.add_argument(
        "--utterances",
        type=count,
        metavar="N",
        help=f"how many they are (default: as many as there are if they last {TYPICAL_SECONDS:g} s)",
    )

    commands.add_parser("verify", parents=[place], help="read everything, remove what is damaged; status 1 if anything")

    prune = commands.add_parser(
        "prune",
        parents=[place],
        help="remove stores, and leftovers of interrupted runs",
        description="Remove the stores that meet all conditions given (none without a condition), and what "
        "interrupted or simultaneous runs left over. Shows what would go; removes it only with --yes.",
    )
    prune.add_argument("--older-than", type=not_negative, metavar="DAYS", help="not used for so long")
    prune.add_argument("--upstream", metavar="NAME", help="of this upstream")
    prune.add_argument("--keep", metavar="SIZE", help="least recently used first, until the rest is no larger: 50GB")
    prune.add_argument("--all", action="store_true", help="every store")
    prune.add_argument("--yes", action="store_true", help="remove, not only show")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = parser().parse_args(arguments)
    commands = {"list": show_stores, "estimate": show_estimate, "verify": verify_stores, "prune": prune_stores}
    try:
        return commands[options.command](options, standard_output())
    except (MendableError, OSError) as error:
        print(f"{PROGRAM}: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def show_stores(options: argparse.Namespace, console: Console) -> int:
    """What is stored."""
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
            moment(store.last_used),
        )
    table.add_section()
    table.add_row("total", "", "", "", "", readable(sum(store.nbytes for store in stores)), "")
    say(console, f"hidden states in {options.store / STATES}")
    console.print(table)
    return 0


def show_estimate(options: argparse.Namespace, console: Console) -> int:
    """What a corpus will take, in each form it can be kept in."""
    encoder = of_the_same_shape(options.upstream)
    utterances = options.utterances or max(1, round(options.hours * 3600 / TYPICAL_SECONDS))
    seconds = options.hours * 3600 / utterances
    free = free_space(options.store)
    table = plain_table("reduction", "codec", Column("size", justify="right"), "")
    means = StoreKey.of(encoder)
    for key in [means, *(replace(means, reduction="frames", codec=codec) for codec in CODECS)]:
        nbytes = estimate_bytes(key, encoder.stride, [seconds]) * utterances
        table.add_row(key.reduction, key.codec, readable(nbytes), "does not fit" if nbytes > free else "")
    say(console, f"{encoder.name}: {options.hours:g} h of audio, {utterances:,} utterances of {seconds:.3g} s")
    console.print(table)
    say(console, f"{readable(free)} are free on the disk of {options.store}.")
    return 0


def of_the_same_shape(name: str) -> Upstream:
    """The upstream of that name; a WavLM without its weights, on which sizes do not depend."""
    stem = name.partition("@")[0]
    if stem in NAMED and NAMED[stem].kind == "wavlm":
        return upstream.load(stem, random_init=True)
    return upstream.load(name)


def verify_stores(options: argparse.Namespace, console: Console) -> int:
    """Read every shard, remove those that are damaged."""
    stores = survey(options.store / STATES)
    shards = sum(len(store.shards()) for store in stores)
    damaged = verify(stores, progress=True)
    for shard in damaged:
        fate = "removed" if shard.removed else "could not be removed: this folder may only be read"
        say(console, f"damaged: {shard.path.name} ({shard.store.describe()}), {fate}")
    sound = shards - len(damaged)
    say(console, f"{shards} shards in {len(stores)} stores: {sound} sound, {len(damaged)} damaged.")
    return 1 if damaged else 0


def prune_stores(options: argparse.Namespace, console: Console) -> int:
    """Show what would go, or remove it."""
    conditions = (options.older_than, options.upstream, options.keep)
    if options.all and any(condition is not None for condition in conditions):
        raise MendableError("--all goes without further conditions; leave it out, or the others.")
    stores = survey(options.store / STATES)
    chosen = choose(
        stores,
        older_than=options.older_than,
        upstream=options.upstream,
        keep=None if options.keep is None else parse_size(options.keep),
        everything=options.all,
    )
    rest = [store for store in stores if store not in chosen]
    unneeded = [(path, stat.st_size) for path, stat in present(leftovers(rest))]
    verb = "removed" if options.yes else "would remove"
    for store in chosen:
        if options.yes:
            remove(store)
        say(console, f"{verb} {store.describe()}: {readable(store.nbytes)}, last used {moment(store.last_used)}")
    for path, nbytes in unneeded:
        if options.yes:
            path.unlink(missing_ok=True)
        say(console, f"{verb} leftover {path.parent.name}/{path.name}: {readable(nbytes)}")
    freed = sum(store.nbytes for store in chosen) + sum(nbytes for _, nbytes in unneeded)
    if not chosen and not unneeded:
        say(console, "Nothing to remove.")
    elif options.yes:
        say(console, f"{readable(freed)} freed.")
    else:
        say(console, f"{readable(freed)} would be freed. Nothing was removed; add --yes to remove it.")
    return 0


def say(console: Console, sentence: str) -> None:
    """Print a line in one piece, to be searched and copied."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def moment(seconds: float) -> str:
    """A time since 1970 in local time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


if __name__ == "__main__":
    sys.exit(main())
