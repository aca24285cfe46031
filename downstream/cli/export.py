"""`wavprobe export`: a run's heads as one file, or records in the forms that others read."""

from __future__ import annotations

import argparse
from pathlib import Path

from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.text import printable

HEADS = ".safetensors"
FILE = "the file, whose ending says what is written: .safetensors, .zip, .md or .tex"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add runs, the file, and what some forms of it can be told."""
    parser.epilog = (
        "FILE.safetensors has the heads of one run, with a model card FILE.md beside it. Of the records of one run or "
        "several, FILE.zip is SUPERB's submission, FILE.md a model card with Hugging Face's model-index (one that is "
        "there is kept, but for these scores), and FILE.tex a LaTeX table with intervals."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, its result.json, or a folder of runs")
    parser.add_argument("to", type=Path, metavar="FILE", help=FILE)
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NAME",
        help="of heads: one of them, such as fold1-seed0 (default those that wavprobe predict takes)",
    )
    parser.add_argument("--family", metavar="FILE.py:CLASS", help="code of the runs' external family, which you trust")
    parser.add_argument("--seed", type=int, help="of a submission: whose predictions, where a run has several seeds")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Write the file."""
    from downstream.exports import ENDINGS, export_records
    from upstream.sizes import readable

    if options.to.suffix in ENDINGS:
        if options.head:
            raise UserError(f"--head is of heads (FILE{HEADS}); {options.to} is made of records.")
        file = export_records(options.runs, options.to, options.seed, [options.family] if options.family else [])
        said = f"{file} ({readable(file.stat().st_size)}) is {ENDINGS[file.suffix]}."
    else:
        said = heads(options)
    print(printable(said))
    return 0


def heads(options: argparse.Namespace) -> str:
    """Write the heads of a run and their card; return what is there then."""
    from downstream.prediction import export
    from upstream.sizes import readable

    if len(options.runs) > 1:
        raise UserError(f"{options.to} has the heads of one run; name one, or end the file in .zip, .md or .tex.")
    if options.seed is not None:
        raise UserError("--seed is of a submission (FILE.zip); heads are named with --head, such as fold1-seed0.")
    file, card = export(options.runs[0], options.to, options.head, options.family)
    return f"{file} ({readable(file.stat().st_size)}) has {needed(file)}; {card} describes them."


def needed(file: Path) -> str:
    """Return what an exported file has of what its heads need."""
    from downstream.results import HeadFile, opened_heads

    with opened_heads(file) as tensors:
        about = tensors.metadata()
    encoders = [one.folder for one in about.encoders.values()] if isinstance(about, HeadFile) else []
    if not encoders:
        return "all that the heads need"
    return f"the heads without their fine-tuned encoders (copy {', '.join(encoders)} of the run beside it)"
