"""What a record knows of one head on one test part, for the pictures of its family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class HeadOnPart:
    """A chosen head on one test part, as its record has it.

    metrics: by name. details: of its evaluation there.
    files: beginning of the paths of the files of its evaluation ("RUN/fold1-seed0"); None for a record that is not on
        disk.
    """

    fold: str
    seed: int
    part: str
    metrics: Mapping[str, float]
    details: Mapping[str, Any]
    files: Path | None

    def file(self, ending: str) -> Path | None:
        """Return the file of its evaluation with an ending, such as "det.csv"; None where it is not there."""
        path = None if self.files is None else self.files.with_name(f"{self.files.name}.{ending}")
        return path if path is not None and path.is_file() else None
