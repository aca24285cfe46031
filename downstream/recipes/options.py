"""Options of a run beside upstream and recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from upstream.files import DEFAULT_STORE


@dataclass(frozen=True)
class Options:
    """Options of a run beside upstream and recipe.

    data: folder of the corpus; None for its environment variable or the hub.
    results, store: folders of records and of hidden states (and of what else is kept between runs).
    store_limit: bytes that may be added to the store; None for half of what is free on its disk.
    seed: of the heads' initial weights, where the recipe's sweep lists none.
    layer: the only layer to use, None for the weighted sum, where the recipe's sweep lists none.
    fresh: discard an earlier run and start again.
    check_audio: read all recordings, also those that have not changed since an earlier run read them.
    snapshot_seconds: seconds between two snapshots of the training.
    overrides: what was changed of the recipe, for the record. command: what was typed, for the record.
    progress: show progress bars, and the size of what will be stored.
    """

    data: Path | None = None
    results: Path = Path("results")
    store: Path = DEFAULT_STORE
    store_limit: int | None = None
    seed: int = 0
    layer: int | None = None
    fresh: bool = False
    check_audio: bool = False
    snapshot_seconds: float = 30.0
    overrides: tuple[str, ...] = ()
    command: str = ""
    progress: bool = True
