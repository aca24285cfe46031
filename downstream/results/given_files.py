"""Files of heads to be tested on a corpus (--head-from), and what in them does not fit it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from downstream.data import Dataset
from downstream.recipes import Recipe
from downstream.results.folder import HEADS, RECORD
from downstream.results.given import GivenHead, GivenHeads
from downstream.results.head_file import HeadFile, is_file_of_heads, opened_heads
from downstream.results.rebuilding import family_and_recipe, predictor_of, rebuilt
from downstream.results.record import FoldOutputs, GivenRecord
from downstream.tasks import Family, family_of, is_external
from downstream.training import Config
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_tensors


def given_heads(paths: Sequence[Path], upstream: Upstream, recipe: Recipe, dataset: Dataset) -> GivenHeads:
    """Return the heads in files, or of runs, for a recipe on a dataset.

    A head of a fold that the split has, by its name, is tested on that fold; a single head of another fold on all.

    Raises UserError for heads of another upstream, task or shape, or with other answers than the recipe's.
    """
    found, files = [], []
    for path in paths:
        about, heads = heads_of_file(file_of(path), upstream, recipe, dataset)
        files.append(about)
        found += heads
    refuse_uneven(found, paths)
    effects = recipe.corpus.effects.model_dump(mode="json")
    record = GivenRecord(
        origins=[origin for about in files for origin in about.origins],
        recipe=", ".join(dict.fromkeys(str(about.recipe["name"]) for about in files)),
        corpus=", ".join(dict.fromkeys(about.corpus.title for about in files)),
        same_audio=all(about.recipe["corpus"]["effects"] == effects for about in files),
    )
    return GivenHeads(tuple(found), record, digest_of(found))


def heads_of_file(file: Path, upstream: Upstream, recipe: Recipe, dataset: Dataset) -> tuple[HeadFile, list[GivenHead]]:
    """Return the metadata of a file and its heads, each on the folds that it is tested on; raise UserError as above."""
    found, folds = [], [fold.name for fold in dataset.split.folds]
    with opened_heads(file) as tensors:
        about = tensors.metadata()
        if not isinstance(about, HeadFile):
            raise UserError(f"{file} is of an older version, and does not say what its heads are; export it anew.")
        trusted = recipe.task if is_external(about.task) else None
        kind, _ = family_and_recipe(about.task, about.recipe, trusted, file)
        refuse_other_task(about, kind, recipe, file)
        for name in about.primary or list(about.heads):
            refuse_other_upstream(name, about, upstream, file)
            own, predictor = about.heads[name], predictor_of(name, about, kind)
            outputs = about.folds[own.fold]
            if not predictor.compares:
                refuse_other_outputs(outputs, recipe, dataset, upstream, file)
            head, config = rebuilt(name, about, predictor, tensors, file), Config(None, own.seed, own.layer)
            for fold in [own.fold] if own.fold in folds else folds:
                found.append(GivenHead(fold, config, own.setting, own.step, head, outputs))
    return about, found


def file_of(path: Path) -> Path:
    """Return the file of heads that a path means; raise UserError, with what to type, where it is none."""
    file = path / HEADS if path.is_dir() else path.parent / HEADS if path.name == RECORD else path
    if file.is_file() and not is_file_of_heads(file):
        raise UserError(
            f"{file} is no file of heads. Of the checkpoint of an s3prl run one is made by: wavprobe convert {file} "
            "head.safetensors"
        )
    return file


def digest_of(heads: Sequence[GivenHead]) -> str:
    """Return the digest of heads, the same for a file and for the run that tested it."""
    tensors = {
        f"{one.fold}-{one.config.seed}.{name}": tensor
        for one in heads
        for name, tensor in one.head.state_dict().items()
    }
    answers: dict[str, Any] = {one.fold: one.outputs.outputs for one in heads}
    return fingerprint_tensors(tensors, answers)


# ---------------------------------------------------------------- what does not fit


def refuse_other_task(about: HeadFile, kind: Family, recipe: Recipe, file: Path) -> None:
    """Raise UserError for heads of another family, or built by other settings than the recipe's."""
    if type(family_of(recipe)) is not type(kind):
        raise UserError(
            f"The heads of {file} are of {about.recipe['name']}, a task of another kind than {recipe.name}."
        )
    wanted, found = recipe.model_dump(mode="json").get("head", {}), about.recipe.get("head", {})
    if different := [f"-o head.{key}={value_text(found[key])}" for key in found if found[key] != wanted.get(key)]:
        raise UserError(
            f"The heads of {file} are built otherwise than those of {recipe.name}: type {' '.join(different)}"
        )


def value_text(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def refuse_other_upstream(name: str, about: HeadFile, upstream: Upstream, file: Path) -> None:
    """Raise UserError for another upstream than that which a head was learned on, or with."""
    tuned = about.encoders.get(name)
    wanted = tuned.fingerprint if tuned else about.upstream.fingerprint
    if wanted != upstream.fingerprint:
        which = f"{tuned.folder}, which learned with it" if tuned else about.upstream.name
        raise UserError(
            f"{upstream.name} is not the upstream of the head {name} in {file}, {which}: fingerprint "
            f"{upstream.fingerprint[:12]} instead of {wanted[:12]}. Name that one with -u."
        )


def refuse_other_outputs(own: FoldOutputs, recipe: Recipe, dataset: Dataset, upstream: Upstream, file: Path) -> None:
    """Raise UserError for heads that answer with other names than those which the dataset is told by."""
    family = family_of(recipe)
    task = family.task(dataset, upstream)
    wanted = list(task.of_fold(dataset.split.folds[0].train).outputs(dataset.split.folds[0]))
    if own.outputs == wanted:
        return
    typed = " ".join(f"-o '{one}'" for one in family.naming(own.outputs))
    raise UserError(
        f"The heads of {file} answer with {', '.join(own.outputs[:6])}, and {recipe.name} here with "
        f"{', '.join(wanted[:6])}: the same names in the same order are needed. {typed and f'Type {typed}'}".rstrip()
    )


def refuse_uneven(heads: Sequence[GivenHead], paths: Sequence[Path]) -> None:
    """Raise UserError for two heads of one seed on one fold, for folds with other seeds, and for several settings."""
    where = ", ".join(map(str, paths))
    keys = [(one.fold, one.config.seed) for one in heads]
    if len(set(keys)) < len(keys):
        raise UserError(f"Several heads in {where} are of the same fold and seed; give one of each.")
    folds, seeds = {fold for fold, _ in keys}, {seed for _, seed in keys}
    if len(keys) < len(folds) * len(seeds):
        raise UserError(f"The heads in {where} are not of the same seeds on every fold; give all of them, or one each.")
    if len({one.setting for one in heads}) > 1:
        raise UserError(f"The heads in {where} read different layers; give those of one layer, or of the sum.")
