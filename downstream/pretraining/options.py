"""Options of a pre-training beside its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from downstream.recipes import refuse_no_name
from upstream.files import DEFAULT_STORE


@dataclass(frozen=True)
class PretrainingOptions:
    """Options of a pre-training beside its recipe.

    data: folder of each source of speech, by its name. probe_data: of the corpus of the recipe that is watched.
    results, store: folders of what comes out, and of targets. name: of the folder, instead of one that is made from
    the settings. fresh: begin again. snapshot_seconds: seconds between two snapshots. command: what was typed.
    """

    data: Mapping[str, Path] = field(default_factory=dict)
    probe_data: Path | None = None
    results: Path = Path("results")
    store: Path = DEFAULT_STORE
    name: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    fresh: bool = False
    snapshot_seconds: float = 60.0
    progress: bool = True
    command: str = ""

    def __post_init__(self) -> None:
        if self.name is not None:
            refuse_no_name(self.name)
