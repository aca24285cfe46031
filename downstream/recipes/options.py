"""Options of a run beside upstream and recipe."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from upstream.errors import UserError
from upstream.files import DEFAULT_STORE
from upstream.text import printable

LONGEST_NAME = 200  # bytes of a run's name; a file system takes 255


@dataclass(frozen=True)
class Options:
    """Options of a run beside upstream and recipe.

    data: folder of the corpus; None for its environment variable or the hub.
    results, store: folders of records and of hidden states (and of what else is kept between runs).
    store_limit: bytes that may be added to the store; None for half of what is free on its disk.
    seed: of the heads' initial weights, where the recipe's sweep lists none.
    layer: the only layer to use, None for the weighted sum, where the recipe's sweep lists none.
    name: of the run, instead of one made from its settings: results/<recipe>/<upstream>/<name>.
    folder: exactly the folder that holds the run, wherever the others lie; instead of a name.
    fresh: discard an earlier run and start again.
    may_learn: False to refuse what needs heads to be learned: a finished run is shown, or its heads are tested anew.
    final: learn one more head, from all data, with what development chose; it is to be used, and not tested.
    check_audio: read all recordings, also those that have not changed since an earlier run read them.
    head_from: files of heads, or folders of runs, whose heads are tested; none to learn some.
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
    name: str | None = None
    folder: Path | None = None
    fresh: bool = False
    may_learn: bool = True
    final: bool = False
    check_audio: bool = False
    head_from: tuple[Path, ...] = ()
    snapshot_seconds: float = 30.0
    overrides: tuple[str, ...] = ()
    command: str = ""
    progress: bool = True

    def __post_init__(self) -> None:
        if self.name is not None and self.folder is not None:
            raise UserError("-n and -p both say where the run lies; leave one of them out.")
        if self.fresh and not self.may_learn:
            raise UserError("--fresh discards the run that -m evaluate would show; leave one of them out.")
        if self.final and not self.may_learn:
            raise UserError("--final learns a head, which -m evaluate forbids; leave one of them out.")
        if self.head_from and (self.final or self.layer is not None):
            what = "--final learns a head" if self.final else f"-l {self.layer} is the layer of heads to learn"
            raise UserError(f"{what}, and --head-from tests some that were learned; leave one of them out.")
        if self.name is not None:
            refuse_no_name(self.name)


def refuse_no_name(name: str) -> None:
    """Raise UserError for a run's name that cannot be the name of a folder."""
    fault = ""
    if set(name) & set("/\\"):
        fault = f"is a path; type {'-'.join(filter(None, re.split(r'[/.]+', name))) or 'a name'}, or -p for any folder"
    elif not name or name != name.strip() or name.startswith((".", "-")) or not name.isprintable():
        fault = "is no name for a folder; begin and end it with a letter or digit, and leave control characters out"
    elif (size := len(name.encode())) > LONGEST_NAME:
        fault = f"has {size} bytes; {LONGEST_NAME} are allowed"
    if fault:
        raise UserError(f"The name of a run (-n), {printable(name)[:80]!r}, {fault}.")
