"""From what a user names (a run's folder, its record, a file of heads) to the heads in it, and to their upstream."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from downstream.recipes import Recipe
from downstream.results import (
    FINAL,
    HEADS,
    RECORD,
    FoldOutputs,
    HeadFile,
    HeadTensors,
    Result,
    altered,
    family_and_recipe,
    of_record,
    read_result,
    record_path,
    upstream_as_recorded,
)
from downstream.tasks import Family
from upstream.base import Upstream
from upstream.catalog import load
from upstream.errors import UserError
from upstream.text import printable

SUFFIX = ".safetensors"
FINAL_NAME = Path(FINAL).stem  # of the head in it
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class HeadSource:
    """A file of heads, and the record of its run where that lies beside it."""

    path: Path
    record: Result | None


def located(named: str | Path, heads: Sequence[str] = ()) -> HeadSource:
    """Return the file of heads that a user names: by a run's folder, by its result.json, or itself.

    heads: the names of those wanted. Of a run that has a head learned from all data, it is that head's file, unless
    others are wanted.

    Raises UserError where there is none, and where a file of the run is not what the run wrote.
    """
    path = Path(os.path.expanduser(named))
    if path.suffix == SUFFIX and not path.is_dir():
        return HeadSource(path, record_beside(path))
    if path.suffix == ".ckpt" and path.is_file():
        raise UserError(
            f"{path} is no file of heads. Of the checkpoint of an s3prl run one is made by: wavprobe convert {path} "
            f"head{SUFFIX}"
        )
    place = record_path(path, f"or a file of heads ({SUFFIX})")
    record, folder = read_result(place), place.parent
    takes_final = FINAL in record.artifacts and (not heads or FINAL_NAME in heads)
    name = FINAL if takes_final else HEADS
    refuse_altered(folder, name, record)
    return HeadSource(folder / name, record)


def record_beside(path: Path) -> Result | None:
    """Return the record of the run that wrote a file of heads; None for a file that was exported or copied."""
    if not (path.parent / RECORD).is_file() or path.name not in (HEADS, FINAL):
        return None
    record = read_result(path.parent / RECORD)
    refuse_altered(path.parent, path.name, record)
    return record


def refuse_altered(folder: Path, name: str, record: Result) -> None:
    """Raise UserError for a file of a run that is missing, or that is not what the run wrote."""
    if not (folder / name).is_file():
        raise UserError(f"There is no {name} in {folder}: the run's heads were removed. Run its command again.")
    if altered(folder, {own: digest for own, digest in record.artifacts.items() if own == name}):
        raise UserError(f"{folder / name} changed since its run wrote it. Run its command again: {record.command}")


# ---------------------------------------------------------------- metadata


def about_heads(source: HeadSource, tensors: HeadTensors, family: str | None) -> tuple[HeadFile, Family, Recipe]:
    """Return the metadata of a file of heads, the family and the recipe.

    family: "module.py:Family" of an external family that the user trusts.

    Raises UserError for an old file whose record is not beside it, for an external family that the user did not name,
    and for a recipe that is none of the family's.
    """
    found = tensors.metadata()
    if isinstance(found, HeadFile):
        chosen, recipe = family_and_recipe(found.task, found.recipe, family, source.path)
        if found.score is not None and found.score.name not in chosen.metrics:
            raise UserError(
                f"The heads of {source.path} have a score {found.score.name!r}, which {recipe.task} does not measure. "
                "Get the file again, or the version of wavprobe that wrote it."
            )
        return found, chosen, recipe
    if source.record is None:
        raise UserError(
            f"{source.path} is of an older version and tells its outputs alone; put it back beside the {RECORD} of its "
            "run, and name that run's folder."
        )
    record = source.record
    chosen, recipe = family_and_recipe(record.task, record.recipe.resolved, family, source.path)
    return of_old_record(record, found, chosen), chosen, recipe


def of_old_record(record: Result, folds: Mapping[str, FoldOutputs], family: Family) -> HeadFile:
    """Return the metadata of heads from before they had some."""
    reduction = family.needs() if record.states.mode == "off" else record.states.mode
    return of_record(record, folds, reduction, record.seeds["head"][0])


# ---------------------------------------------------------------- upstream


def upstream_of(about: HeadFile, given: str | Path | Upstream | None, device: str, run: str | Path) -> Upstream:
    """Return the upstream that heads were learned on.

    given: what the user names instead of what is recorded. run: as the user named it, for messages.

    Raises UserError where it cannot be loaded, and where it is another one.
    """
    recorded = about.upstream

    def typed(name: str) -> str:
        return shlex.join(["wavprobe", "predict", printable(str(run)), "-u", name]) + " FILES"

    loaded = upstream_as_recorded(recorded, about.upstream_seed, given, device, typed)
    sizes = (loaded.num_layers, loaded.dim, loaded.stride)
    if loaded.fingerprint == recorded.fingerprint and sizes != (recorded.layers, recorded.dim, recorded.stride):
        raise UserError(
            f"The metadata of the heads contradict themselves: {loaded.name} is the upstream that they were learned "
            "on, but has other layers, another width or another stride than they say. Get the file again."
        )
    if loaded.fingerprint != recorded.fingerprint:
        raise UserError(
            f"{loaded.name} is not the upstream that the heads were learned on, {recorded.name}: weights or settings "
            f"differ (fingerprint {loaded.fingerprint[:12]} instead of {recorded.fingerprint[:12]}). Name the right "
            "one with -u."
        )
    return loaded


def encoder_of(about: HeadFile, head: str, given: str | Path | Upstream | None, device: str, path: Path) -> Upstream:
    """Return the encoder that was fine-tuned with a head.

    given: what the user names instead of the one beside the file. path: of the file of heads.

    Raises UserError where it is not there, and where it is another one.
    """
    recorded = about.encoders[head]
    place = path.parent / recorded.folder
    if given is None and not place.is_dir():
        raise UserError(
            f"The head {head} was fine-tuned with an encoder of its own, and {place} is not there. Get it from the run "
            "that wrote it, or name it with -u."
        )
    loaded = given if isinstance(given, Upstream) else load(str(given or place), device=device)
    if loaded.fingerprint != recorded.fingerprint:
        raise UserError(
            f"{loaded.name} is not the encoder that the head {head} was fine-tuned with: weights or settings differ "
            f"(fingerprint {loaded.fingerprint[:12]} instead of {recorded.fingerprint[:12]}). The run keeps it as "
            f"{recorded.folder}."
        )
    return loaded


# ---------------------------------------------------------------- heads


def chosen_heads(about: HeadFile, wanted: Sequence[str], averages: bool) -> list[str]:
    """Return the names of the heads that answer.

    wanted: by the user; none for those whose mean score is the run's, together where predictions can be averaged, and
    else the one of them with the best development score.

    Raises UserError for a name that there is not, and for several that cannot answer together.
    """
    if unknown := [name for name in wanted if name not in about.heads]:
        names = list(about.heads)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UserError(f"There is no head {unknown[0]!r}; there are {', '.join(names[:SHOWN])}{more}.")
    candidates = list(dict.fromkeys(wanted)) or about.primary or list(about.heads)
    if averages or len(candidates) == 1:
        return candidates
    if wanted:
        raise UserError(f"Answers of this task cannot be averaged over {len(candidates)} heads; name one with --head.")
    sign = 1 if about.higher_is_better else -1
    return [max(candidates, key=lambda name: sign * (about.heads[name].development or 0.0))]
