"""Convert any WavLM checkpoint to a Hugging Face directory.

wavprobe convert WavLM-Large.pt wavlm-large
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from upstream.command_line import add_verbose, carry_out, take_any_text
from upstream.errors import UserError

if TYPE_CHECKING:
    from upstream.wavlm.checkpoint import Checkpoint

DESCRIPTION = "Convert any WavLM checkpoint to a Hugging Face directory."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two positional arguments. Imports no heavy package."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a checkpoint: Hugging Face directory, Microsoft .pt, torchaudio .pth or s3prl .ckpt; or wavlm_tiny",
    )
    parser.add_argument("destination", type=Path, metavar="DESTINATION", help="the directory to write")
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Convert the checkpoint and print what was read; return the exit status, 0.

    Raises UserError and OSError for errors that the user can fix.
    """
    said, notes = converted(options.source, options.destination)
    print(said)
    for note in notes:
        print(f"Note: {note}")
    return 0


def converted(source: Path, destination: Path) -> tuple[str, tuple[str, ...]]:
    """Convert a checkpoint; return what was written, and notes. Raises UserError as `run`."""
    from upstream.names import or_shipped
    from upstream.wavlm import checkpoint

    source = or_shipped(source)
    read = checkpoint.read(source)
    refuse_other_checkpoint(destination, source, read)
    checkpoint.write(destination, read.config, read.tensors)
    return f"Recognised {read.format}; wrote {len(read.tensors)} tensors to {destination}.", read.notes_on_encoder


def refuse_other_checkpoint(destination: Path, source: Path, read: Checkpoint) -> None:
    """Raise UserError for the folder of a model that would be lost: of the source, or any other than was read."""
    from upstream.wavlm import checkpoint

    if not (destination / "config.json").exists():
        return
    try:
        present = checkpoint.read(destination)
        is_same = not present.beside and present.fingerprint(0) == read.fingerprint(0)
    except UserError:
        is_same = False
    if not is_same or destination.samefile(source if source.is_dir() else source.parent):
        raise UserError(f"{destination} has a checkpoint of its own; name another folder to write.")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status, 2 for an error the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m upstream.wavlm.convert", description=DESCRIPTION)
    add_arguments(parser)
    take_any_text()
    options = parser.parse_args(arguments)
    return carry_out(lambda: run(options), parser.prog, options.verbose)


if __name__ == "__main__":
    sys.exit(main())
