"""The argument that names code of others, which runs only where the user trusts it."""

from __future__ import annotations

import argparse


def add_families(parser: argparse.ArgumentParser) -> None:
    """Add the external families of records."""
    parser.add_argument(
        "--family",
        action="append",
        default=[],
        metavar="FILE.py:CLASS",
        help="external family of the records, whose code you trust",
    )
