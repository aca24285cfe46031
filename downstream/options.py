"""What the command line says beside upstream and recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command line says beside upstream and recipe.

    data: folder of the corpus; None for its environment variable or the hub.
    results, store: folders of records and of hidden states (and of what else is kept between runs).
    store_limit: bytes that may be added to the store; None for half of what is free on its disk.
    seed: of the heads' first weights, where the recipe's sweep lists none.
    layer: the only layer to use, None for the weighted sum, where the recipe's sweep lists none.
    fresh: begin again, whatever an earlier run left.
    snapshot_seconds: how much of the training an interruption may cost.
    overrides: what the command line changed of the recipe, for the record.
    """

    data: Path | None
    results: Path
    store: Path
    store_limit: int | None = None
    seed: int = 0
    layer: int | None = None
    fresh: bool = False
    snapshot_seconds: float = 30.0
    overrides: tuple[str, ...] = ()
    command: str = ""
    progress: bool = True
