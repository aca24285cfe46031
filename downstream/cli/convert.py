"""`wavprobe convert`: checkpoints of WavLM, of s3prl's runs and heads of this harness, in the forms of others."""

from __future__ import annotations

import argparse
from pathlib import Path

from upstream.command_line import add_verbose
from upstream.errors import UserError
from upstream.text import one_line, printable

HEADS = ".safetensors"
EPILOG = (
    "DESTINATION is a folder, for a Hugging Face directory: of the encoder for a checkpoint of one, of a task model "
    "for a head. Of an s3prl run it may be FILE.safetensors, a head that wavprobe predict and wavprobe run "
    "--head-from apply. A task model is run on audio beside the head that it was made of, and is there if both agree."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add source, destination, and what a head may need to be told."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a checkpoint of WavLM (Hugging Face directory, Microsoft .pt, torchaudio .pth), the .ckpt of an s3prl "
        "run, the folder of a run, a file of heads, or wavlm_tiny",
    )
    parser.add_argument("destination", type=Path, metavar="DESTINATION", help="a folder, or FILE.safetensors")
    group = parser.add_argument_group("heads")
    group.add_argument("-u", "--upstream", help="the encoder of a head, where it is not found by the name recorded")
    group.add_argument(
        "-d", "--downstream", metavar="RECIPE", help="of an s3prl run: the recipe here that has its task"
    )
    group.add_argument("--labels", type=Path, metavar="FILE", help="of an s3prl run: names of the outputs, one a line")
    group.add_argument("--head", metavar="NAME", help="of a run here: one of its heads, such as fold1-seed0")
    group.add_argument(
        "--audio",
        action="append",
        default=[],
        metavar="FILE",
        help="recordings on which both forms are compared (default synthesised tones)",
    )
    group.add_argument(
        "--encoder", action="store_true", help="of an s3prl run: its fine-tuned encoder, without the head"
    )
    add_verbose(parser)


def run(options: argparse.Namespace) -> int:
    """Convert and say what was left behind."""
    from downstream.conversion import convert

    if options.destination.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise UserError(f"{options.destination} is no form that is written; name a folder, or FILE{HEADS} for a head.")
    done = convert(
        options.source,
        options.destination,
        upstream=options.upstream,
        recipe=options.downstream,
        labels=options.labels,
        head=options.head,
        audio=options.audio,
        encoder_alone=options.encoder,
    )
    print(printable(done.sentence))
    for note in done.notes:
        print(f"Note: {one_line(note)}")
    return 0
