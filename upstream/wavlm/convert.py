"""Convert any WavLM checkpoint to a Hugging Face directory.

python -m upstream.wavlm.convert WavLM-Large.pt wavlm-large-hf
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from upstream.errors import MendableError
from upstream.wavlm import checkpoint


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, or 2 with a sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m upstream.wavlm.convert", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help=f"the checkpoint: {checkpoint.FORMATS}")
    parser.add_argument("destination", type=Path, help="the directory to write")
    options = parser.parse_args(arguments)
    try:
        read = checkpoint.read(options.source)
        checkpoint.write(options.destination, read.config, read.tensors)
    except (MendableError, OSError) as error:  # a file that may not be read is the user's to mend, too
        print(f"convert: {error}", file=sys.stderr)
        return 2
    print(f"Recognised {read.format}; wrote {len(read.tensors)} tensors to {options.destination}.")
    for note in read.notes:
        print(f"Note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
