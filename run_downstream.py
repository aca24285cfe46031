"""One upstream, one recipe, one result, under the name that users of s3prl type; the same as `wavprobe run`.

python run_downstream.py -u wavlm_base -d emotion
python run_downstream.py --list
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from downstream.cli.main import main_of_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return main_of_run(arguments, "run_downstream.py")


if __name__ == "__main__":
    sys.exit(main())
