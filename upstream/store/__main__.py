"""`python -m upstream.store`, the same as `wavprobe store`."""

from __future__ import annotations

import argparse
import sys

from upstream.errors import UserError, sentence
from upstream.store.command import DESCRIPTION, add_arguments, run


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status, 2 for an error the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m upstream.store", description=DESCRIPTION)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except (UserError, OSError) as error:
        print(f"{parser.prog}: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
