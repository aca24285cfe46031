"""`python -m upstream.store`, the same as `wavprobe store`."""

from __future__ import annotations

import argparse
import sys

from upstream.command_line import carry_out, take_any_text
from upstream.store.command import DESCRIPTION, add_arguments, run


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status, 2 for an error the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m upstream.store", description=DESCRIPTION)
    add_arguments(parser)
    take_any_text()
    options = parser.parse_args(arguments)
    return carry_out(lambda: run(options), parser.prog, options.verbose)


if __name__ == "__main__":
    sys.exit(main())
