"""The console command `wavprobe`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from upstream.arguments import AnyOrder
from upstream.command_line import USER_ERROR, carry_out, take_any_text
from upstream.nearest import did_you_mean
from upstream.text import printable

VERBS = {
    "run": "score an upstream on a recipe",
    "probe": "score every layer of upstreams on recipes, with tables and figures",
    "compare": "test whether two runs differ, on the same test items",
    "plot": "draw the pictures of finished runs",
    "extract": "write the hidden states of recordings to files",
    "predict": "apply the heads of a run to new recordings",
    "replay": "compute a result again from its record, and compare",
    "leaderboard": "write a page, Markdown and CSV of records and published scores",
    "export": "write the heads of a run as one file, or records for SUPERB, Hugging Face and LaTeX",
    "list": "list upstreams, recipes and corpora",
    "manifest": "write the manifest.csv of a folder of recordings",
    "check": "try an upstream out: its contract, layers, speed and precisions",
    "validate": "check recipes without running them, and records against their files",
    "store": "list, estimate, verify and prune the stored hidden states",
    "pretrain": "pre-train a WavLM from speech, as a recipe has it",
    "convert": "convert WavLM checkpoints, s3prl's runs and heads to Hugging Face's form, or to heads",
}


class CommandLine(argparse.ArgumentParser):
    """A parser that says where the words belong that follow one setting of -o."""

    def error(self, message: str) -> NoReturn:
        """Exit with the usage and a message."""
        settings = [word for word in message.split() if "=" in word and not word.startswith("-")]
        if message.startswith("unrecognized arguments") and settings:
            message += f". Each setting has a flag of its own: -o {settings[0]}"
        super().error(message)


class Verb(Protocol):
    """A module of this folder."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the verb."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the verb; return the exit status. Raises UserError for errors that the user can fix."""


def verb(name: str) -> Verb:
    """Return the module of a verb."""
    module = {"list": "listing"}.get(name, name)
    return cast("Verb", import_module(f"downstream.cli.{module}"))


def parser() -> argparse.ArgumentParser:
    """Return the command line with all verbs."""
    made = CommandLine(
        prog="wavprobe",
        description="How much does a frozen speech encoder know, and in which of its layers?",
        epilog="See also wavprobe VERB --help. Exit status: 2 for an error that you can fix, 1 for a bug.",
    )
    made.add_argument("--version", action="store_true", help="print the version")
    verbs = made.add_subparsers(dest="verb", metavar="|".join(VERBS), parser_class=AnyOrder)
    for name, title in VERBS.items():
        verb(name).add_arguments(verbs.add_parser(name, help=title, description=f"{title[0].upper()}{title[1:]}."))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `wavprobe`; returns the exit status."""
    take_any_text()
    given = list(sys.argv[1:] if arguments is None else arguments)
    made = parser()
    refuse_unknown_verb(made, given)
    options = made.parse_args(given)
    if options.version:
        import downstream

        print(f"wavprobe {downstream.__version__}")
        return 0
    if options.verb is None:
        made.print_help()
        return USER_ERROR
    options.command = shlex.join(["wavprobe", *given])
    return carry_out_verb(verb(options.verb), options, f"wavprobe {options.verb}")


def refuse_unknown_verb(made: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Exit with a sentence on what may have been meant, where the first argument is neither a verb nor an option."""
    if given and not given[0].startswith("-") and given[0] not in VERBS:
        meant = did_you_mean(given[0], VERBS) or f"The verbs are {', '.join(VERBS)}."
        made.error(f"there is no verb {printable(given[0])!r}. {meant}")


def main_of_run(arguments: Sequence[str] | None, program: str) -> int:
    """Entry point of `run_downstream.py`, which is `wavprobe run` under the name that users of s3prl know."""
    take_any_text()
    given = list(sys.argv[1:] if arguments is None else arguments)
    module = verb("run")
    made = CommandLine(
        prog=program,
        description="Score an upstream on a recipe: encode a corpus once, learn a small head on its layers, test it.",
        epilog="The same command resumes an interrupted run. Exit status: 2 for errors that you can fix, 1 for a bug.",
    )
    module.add_arguments(made)
    options = made.parse_args(given)
    options.command = shlex.join(["python", program, *given])
    return carry_out_verb(module, options, program)


def carry_out_verb(module: Verb, options: argparse.Namespace, program: str) -> int:
    """Run a verb; return its exit status, with a sentence on standard error where it is not 0."""
    goes_on = module in (verb("run"), verb("probe"), verb("extract"), verb("replay"), verb("pretrain"))
    more = "; what was computed is kept, and the same command goes on from here" if goes_on else ""
    return carry_out(lambda: module.run(options), program, options.verbose, more)


if __name__ == "__main__":
    sys.exit(main())
