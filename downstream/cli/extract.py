"""`wavprobe extract`: the hidden states of recordings as files, to be used elsewhere."""

from __future__ import annotations

import argparse
import re

from upstream.arguments import folder, refuse, whole_number
from upstream.catalog import DTYPES, FASTEST
from upstream.command_line import add_verbose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add upstream, recordings and options."""
    parser.add_argument("-u", "--upstream", required=True, help="as for `wavprobe run`")
    parser.add_argument(
        "recordings",
        nargs="+",
        metavar="FILES",
        help="audio files, folders, a manifest.csv, a list of files (.txt, .lst), or - for a list on standard input",
    )
    parser.add_argument("--to", type=folder, required=True, metavar="DIR", help="folder of the states")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--frames", action="store_true", help="all frames of a recording (the default)")
    kind.add_argument("--means", action="store_true", help="the mean over frames of each recording")
    parser.add_argument(
        "-l", "--layers", type=layers, metavar="N,N", help="layers such as 0,6,12, 4-8 or -1 for the last (default all)"
    )
    parser.add_argument(
        "--format",
        default="npy",
        choices=("npy", "safetensors", "hf"),
        help="a .npy or .safetensors for each recording, or a dataset for load_from_disk of Hugging Face (default npy)",
    )
    parser.add_argument(
        "--dtype-out", default="float32", choices=("float32", "float16"), help="numbers of the files (default float32)"
    )
    parser.add_argument("--skip-unreadable", action="store_true", help="leave out what is no audio, and say so")
    parser.add_argument("--random-init", action="store_true", help="the same architecture with untrained weights")
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of untrained weights")
    parser.add_argument("--device", default="auto", help="of the upstream: auto, cpu, cuda, cuda:0 (default auto)")
    parser.add_argument(
        "--dtype", default="float32", choices=(*DTYPES, FASTEST), help="precision of the upstream (default float32)"
    )
    add_verbose(parser)


def layers(text: str) -> tuple[int, ...] | None:
    """Parse numbers of layers and ranges of them; None for all."""
    if text == "all":
        return None
    found: list[int] = []
    for piece in text.split(","):
        span = re.fullmatch(r"\s*(-?\d{1,4})(?:-(\d{1,4}))?\s*", piece)
        if span is None or (span[2] is not None and not 0 <= int(span[1]) <= int(span[2])):
            refuse(text, "a list of layers such as 0,6,12 or 4-8, or all")
        found += range(int(span[1]), int(span[2] or span[1]) + 1)
    return tuple(found)


def run(options: argparse.Namespace) -> int:
    """Encode the recordings and write their states."""
    from downstream.states import Contents, extract_named
    from upstream import ranks
    from upstream.catalog import load
    from upstream.sizes import readable
    from upstream.text import counted

    own_rank = ranks.current()  # several processes share the work under torchrun
    own_rank.claim_gpu(options.device)
    own_rank.meet()
    loading = {name: getattr(options, name) for name in ("device", "dtype", "random_init", "seed")}
    upstream = load(options.upstream, **loading)
    contents = Contents.of(upstream, options.layers, options.means, options.format, options.dtype_out)
    extracted = extract_named(
        contents,
        options.recordings,
        options.to,
        skip_unreadable=options.skip_unreadable,
        progress=own_rank.main,
        ranks=own_rank,
    )
    if not own_rank.main:
        return 0
    seconds = sum(row["seconds"] for row in extracted.rows)
    size = sum({row["file"]: row["bytes"] for row in extracted.rows}.values())
    count = len(contents.layers)
    shape = f"{count} x {upstream.dim}" if options.means else f"{count} x frames x {upstream.dim}"
    print(
        f"{counted(len(extracted.rows), 'recording')}, {seconds / 60:,.1f} min, as {shape} in {options.dtype_out}: "
        f"{readable(size)} in {extracted.folder}; see index.csv and extraction.json there."
    )
    if not extracted.encoded:
        print("All of it was there before; nothing was encoded.")
    return 0
