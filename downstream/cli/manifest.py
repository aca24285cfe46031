"""`wavprobe manifest`: write the manifest.csv of a folder of recordings, with what its folders and files tell."""

from __future__ import annotations

import argparse
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from downstream.data.corpora import MANIFEST_FILE
from upstream.arguments import folder
from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.text import counted, printable

RECIPES = {"label": "emotion", "speaker": "sv", "text": "asr"}  # what can be learned from a column, by a recipe's name
NAMES_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the file, and what subfolders are."""
    parser.add_argument("folder", type=folder, metavar="DIR", help="folder of the recordings")
    parser.add_argument("--to", type=Path, metavar="FILE", help=f"the file to write (default {MANIFEST_FILE} in DIR)")
    parser.add_argument(
        "--subfolders", choices=("label", "speaker"), default="label", help="what subfolders are (default label)"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Write the manifest; print what it lists, and what to type next."""
    from downstream.data.corpora import manifest_csv, scanned
    from upstream.files import write_atomically

    target = options.to or options.folder / MANIFEST_FILE
    target = target / MANIFEST_FILE if target.is_dir() else target
    if os.path.lexists(target) and not options.force:
        raise UserError(f"{target} is there already; add --force to write over it, or name another file with --to.")
    scan = scanned(options.folder)
    if not target.parent.is_dir():
        raise UserError(f"There is no folder {target.parent} to write {target.name} into; make it, or correct --to.")
    rows = [
        {options.subfolders if column == "label" else column: cell for column, cell in row.items()} for row in scan.rows
    ]
    if not target.parent.samefile(options.folder):
        rows = [row | {"path": seen_from(target.parent, options.folder / row["path"])} for row in rows]
    write_atomically(target, manifest_csv(rows))
    print(f"{printable(str(target))} lists {counted(len(rows), 'recording')}.")
    for line in (*contents(rows), *map(printable, scan.notes), *next_steps(target, rows)):
        print(line)
    return 0


def seen_from(place: Path, recording: Path) -> str:
    """Return the path of a recording as a manifest in `place` names it: relative if it lies below, else absolute."""
    absolute, above = Path(os.path.abspath(recording)), Path(os.path.abspath(place))
    return (absolute.relative_to(above) if absolute.is_relative_to(above) else absolute).as_posix()


def contents(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a line for each column beside the path: what is in it, how often."""
    lines = []
    for column in ("label", "speaker", "split"):
        found = Counter(row[column] for row in rows if row.get(column))
        names = [f"{name} {count}" for name, count in sorted(found.items())]
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        lines += [f"{column:<8}{', '.join(names[:NAMES_SHOWN])}{more}"] if names else []
    transcribed = sum("text" in row for row in rows)
    return [*lines, f"text    of {counted(transcribed, 'recording')}"] if transcribed else lines


def next_steps(target: Path, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what to do with the file, and a command for each task that it can serve."""
    lines = ["Look through it, and add what only you know: a column speaker, or text, or labels."]
    if target.name != MANIFEST_FILE:
        return [*lines, f"It is read as {MANIFEST_FILE} in a folder that --data names: rename it before."]
    data = shlex.quote(printable(str(target.parent)))
    recipes = [recipe for column, recipe in RECIPES.items() if any(column in row for row in rows)]
    commands = [f"  wavprobe run -u wavlm_base -d {recipe} -c manifest --data {data}" for recipe in recipes]
    return [*lines, *(["Then type:", *commands] if commands else [])]
