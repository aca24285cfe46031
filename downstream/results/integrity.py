"""Digests of a record and of the files beside it: what an earlier run left is believed only where they match.

They find bits that flipped, files that were edited or mixed up, and nothing against somebody who writes new digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def digest_of(value: object) -> str:
    """Return the SHA-256 of a JSON value, the same in whatever order its keys stand."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file's content, by its name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def altered(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Return the names of the files in `folder` whose content has another digest; a file that was removed has none.

    Raises OSError for a file that cannot be read.
    """
    found = []
    for name, digest in expected.items():
        if (folder / name).is_file():
            with (folder / name).open("rb") as stream:
                found += [name] * (hashlib.file_digest(stream, "sha256").hexdigest() != digest)
    return found
