"""A run carried out again as its record says, in a folder of its own, and compared with the record."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from downstream.data import Corpus
from downstream.experiment import run as carry_out
from downstream.recipes import Options, Recipe, overridden, validated
from downstream.replaying.comparison import Comparison, compared
from downstream.results import (
    ELSEWHERE,
    RECORD,
    Result,
    altered,
    asked_layer,
    family_and_recipe,
    read_result,
    record_path,
    upstream_as_recorded,
)
from downstream.tasks import errors_named
from upstream.base import Upstream
from upstream.catalog import torch_device
from upstream.errors import UserError
from upstream.files import DEFAULT_STORE
from upstream.text import printable

REPLAYS = Path("replays")  # beside results, so that no table of results takes a replay for a run


@dataclass(frozen=True)
class Replay:
    """A record, the record of the same run computed again, and their differences.

    was_finished: True where the second one was found finished, in the folder of an earlier replay.
    """

    record: Result
    again: Result
    comparison: Comparison
    was_finished: bool

    @property
    def is_identical(self) -> bool:
        """True where all scores are equal to the last bit, and all predictions that the record has."""
        return self.comparison.is_identical


def replay(
    run: str | Path,
    *,
    to: Path | None = None,
    upstream: str | Path | Upstream | None = None,
    data: Path | None = None,
    corpus: Corpus | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    family: str | None = None,
    store: Path = DEFAULT_STORE,
    fresh_store: bool = False,
    fresh: bool = False,
    progress: bool = True,
) -> Replay:
    """Compute a result again from its record; see `downstream.replay`."""
    path = record_path(run)
    record = read_result(path)
    kind, recorded = family_and_recipe(record.task, record.recipe.resolved, family, path)
    recipe = corrected(recorded, overrides)
    place = place_of(record, path.parent, to)
    own_store = place.with_name(f"{place.name}-store")
    given = upstream_as_recorded(
        record.upstream, seed_of(record), upstream, device or device_of(record), lambda name: command(run, name)
    )
    options = Options(
        data=data,
        folder=place,
        results=place,  # where no other run is: its heads would be taken from that one
        store=own_store if fresh_store else store,
        seed=seed_of(record),
        layer=layer_of(record, recipe),
        fresh=fresh,
        head_from=() if record.given is None else (path.parent,),  # they are not to be learned, there is no other way
        overrides=tuple(record.recipe.overrides),
        command=command(run),
        progress=progress,
    )
    if progress:
        for sentence in said_before(record, given, path.parent):
            tqdm.write(sentence, file=sys.stderr)
    try:
        with logging_redirect_tqdm(), errors_named(recipe.task):
            outcome = carry_out(given, recipe, options, corpus=corpus)
    finally:
        if fresh_store:
            shutil.rmtree(own_store, ignore_errors=True)
    assert outcome is not None  # only ranks of a shared extraction have none
    with errors_named(recipe.task):
        return Replay(record, outcome.result, compared(record, outcome.result, type(kind)), outcome.was_finished)


def corrected(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recorded recipe with what the user corrects; raise UserError for paths that a record hides."""
    settings = overridden(recipe.model_dump(mode="json"), overrides, type(recipe))
    for key, value in hidden_paths({name: value for name, value in settings.items() if name != "task"}):
        raise UserError(
            f"The recipe of this run names the file {value}, and a record does not say in which folder of whose "
            f"machine that lies. Give it: -o {key}=PATH."
        )
    return validated(settings, type(recipe), f"Recipe {recipe.name}")


def hidden_paths(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield key and value of every setting that is a path without its folder."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from hidden_paths(value, f"{before}{name}.")
        elif isinstance(value, str) and value.startswith(f"{ELSEWHERE}/"):
            yield f"{before}{name}", value


def seed_of(record: Result) -> int:
    """Return the seed of a run; of an earlier record, which does not say it, that of its first head."""
    return record.options.seed if record.options else record.seeds["head"][0]


def layer_of(record: Result, recipe: Recipe) -> int | None:
    """Return the layer that was asked for beside the recipe; of an earlier record the one that its scores are of."""
    return record.options.layer if record.options else asked_layer(record, recipe)


def device_of(record: Result) -> str:
    """Return the recorded device where this machine has it, else the one that it has."""
    try:
        return torch_device(record.environment.get("device", "auto")).type
    except UserError:
        return "auto"


def place_of(record: Result, folder: Path, to: Path | None) -> Path:
    """Return the folder of a replay; raise UserError for the folder of the run itself."""
    own = folder.resolve()
    place = to or REPLAYS / record.recipe.name / own.parent.name / own.name
    if place.resolve() == own or own in place.resolve().parents:
        raise UserError(f"{place} is the folder of the run that is computed again; choose another one with --to.")
    return place


def command(run: str | Path, upstream: str | None = None) -> str:
    """Return the command of a replay, with an upstream's name if there is one."""
    named = [] if upstream is None else ["-u", upstream]
    return shlex.join(["wavprobe", "replay", printable(str(run)), *named])


def said_before(record: Result, loaded: Upstream, folder: Path) -> Iterator[str]:
    """Yield what is known to differ before anything is computed."""
    if changed := altered(folder, record.artifacts):
        yield f"note: beside {folder / RECORD}, {', '.join(changed)} changed since the run wrote it."
    if loaded.fingerprint != record.upstream.fingerprint:
        yield (
            f"note: {loaded.name} is not the upstream of the record: its fingerprint is {loaded.fingerprint[:12]} "
            f"instead of {record.upstream.fingerprint[:12]}. The replay goes on, and will tell what that changes."
        )
