"""The upstream of a run, loaded again by what its record, or a file of its heads, says of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from downstream.results.anonymous import ELSEWHERE
from downstream.results.record import UpstreamRecord
from upstream.base import Upstream
from upstream.catalog import load, torch_device
from upstream.errors import UserError
from upstream.names import is_function, name_now
from upstream.text import one_line


def upstream_as_recorded(
    recorded: UpstreamRecord,
    seed: int,
    given: str | Path | Upstream | None,
    device: str,
    typed: Callable[[str], str],
) -> Upstream:
    """Return the upstream that was recorded; whether its weights are still the same is for the caller to compare.

    seed: of untrained weights. given: what the user names instead of what is recorded, or a loaded one.
    typed: the command, for messages, with another upstream's name after -u.

    Raises UserError where it cannot be loaded.
    """
    if isinstance(given, Upstream):
        return given
    torch_device(device)  # refused before the upstream is looked for
    name = recorded_name(recorded, typed) if given is None else str(given)
    try:
        return load(name, device=device, dtype=recorded.dtype, random_init=recorded.random_init, seed=seed)
    except UserError as error:
        kind = "an untrained " if recorded.random_init else ""
        raise UserError(
            f"{error} The heads were learned on {kind}{recorded.name}; where it has moved, name it with -u."
        ) from error


def recorded_name(recorded: UpstreamRecord, typed: Callable[[str], str]) -> str:
    """Return the name to load an upstream by, as recorded; of a repository in the revision that was used.

    Raises UserError for code of others, which runs only where the user names it, and for a path that was not kept.
    """
    name = os.path.expanduser(name_now(recorded.name, recorded.layers, recorded.dim))
    place = place_of_upstream(recorded)
    command = typed(place or name)
    if is_function(name):
        raise UserError(
            f"The heads were learned on {recorded.name}, a function whose code would run. Read it, and name the file "
            f"that you trust with -u: {command}"
        )
    if place is not None:
        raise UserError(
            f"The heads were learned on {recorded.name}; a record does not say in which folder of whose machine that "
            f"lies. Name it with -u: {command}"
        )
    pinned = recorded.revision is not None and "@" not in name and not Path(name).exists()
    return f"{name}@{recorded.revision}" if pinned else name


def place_of_upstream(recorded: UpstreamRecord) -> str | None:
    """Return "FOLDER/model" for an upstream whose folder only the user knows, to be written into a command, else None.

    That is a function, whose code runs only where the user names it, and a path that a record does not keep.
    """
    name = one_line(recorded.name)
    return f"FOLDER/{Path(name).name}" if is_function(name) or name.startswith(ELSEWHERE) else None
