"""From the checkpoint of an s3prl run to its head here, on the encoder that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from downstream.conversion.convertible import ConvertibleHead, read_labels
from downstream.conversion.diarization import frame_classifier
from downstream.conversion.s3prl_run import S3prlRun
from downstream.recipes import EffectsSettings, Recipe, task_of_s3prl
from downstream.tasks import Family, Head, HeadHere, HeadOfS3prl, family_of, family_of_s3prl, load_recipe
from upstream.base import Upstream
from upstream.catalog import load
from upstream.errors import UserError
from upstream.names import is_function, not_here

READ = (
    "Heads that are read: linear ones over mean pooling (emotion, speech_commands, fluent_commands, voxceleb1), "
    "sv_voxceleb1's XVector with SP and AMSoftmaxLoss, diarization's linear layer, asr's bidirectional LSTMs."
)
SLOTS = "fluent_commands"  # its outputs are three groups, of an answer each: action, object, location


@dataclass(frozen=True)
class HeadOfRun:
    """The head of an s3prl run, on its upstream.

    family, here: the family that has such heads, and what it says of this one; None for diarization, which is none.
    recipe: of the same task; None where there is none.
    count: of outputs. outputs: their names; None where they are not known.
    """

    run: S3prlRun
    head: Any
    upstream: Upstream
    family: type[Family] | None
    here: HeadHere | None
    recipe: Recipe | None
    count: int
    outputs: tuple[str, ...] | None

    def convertible(self) -> ConvertibleHead:
        """Return it for whoever writes it in another form."""
        head = self.head
        return ConvertibleHead(
            title=f"s3prl's {self.run.task or 'head'}",
            head=head,
            upstream=self.upstream,
            outputs=self.outputs,
            effects=EffectsSettings() if self.recipe is None else self.recipe.corpus.effects,
            task_model=partial(self.family.task_model, head) if self.family else head.task_model,
            notes=tuple(notes_on(self)),
        )


def head_of_run(
    run: S3prlRun, upstream: str | None = None, recipe: str | None = None, labels: Path | None = None
) -> HeadOfRun:
    """Return the head of a run, on its upstream.

    upstream: its name, where the run's own is not to be had by the name that the run had for it. recipe: of the same
    task, where the run's own is not known here. labels: file of the names of the head's outputs.

    Raises UserError for a head of a structure that is not read, and for an upstream that it does not fit.
    """
    encoder = upstream_of_run(run, upstream)
    refuse_other_layers(run, encoder)
    layer = None if run.layer is None else run.layer % encoder.num_layers
    theirs = HeadOfS3prl(run.head, run.model, encoder.num_layers, layer)
    found = family_of_s3prl(theirs)
    head: Any = found[1].head if found else frame_classifier(theirs)
    if head is None:
        raise UserError(f"{run.path} has a head that is not read here, {described(run)}. {READ}")
    refuse_other_width(run, head, encoder)
    if run.weights is not None:
        with torch.no_grad():
            head.weighted_sum.weights.copy_(run.weights)
    family, here = found or (None, None)
    own = None if family is None else recipe_of(run, family, recipe)
    count = here.num_outputs if here else head.output.out_features
    return HeadOfRun(run, head.eval(), encoder, family, here, own, count, names_of(run, own, count, labels))


# ---------------------------------------------------------------- upstream


def upstream_of_run(run: S3prlRun, given: str | None) -> Upstream:
    """Return the encoder of a run: the one in its file if it was fine-tuned, else by the name that it had, or given.

    Raises UserError where neither is to be had.
    """
    if run.is_fine_tuned:
        if given is not None:
            raise UserError(f"{run.path} has the encoder that its run fine-tuned; leave -u {given} out.")
        return load(str(run.path))
    if given is not None:
        return load(given)
    name = run.upstream
    if name is None:
        raise UserError(f"{run.path} does not say which upstream its head was trained on (Args). Name it with -u.")
    checkpoint = run.arguments.get("upstream_ckpt")
    if isinstance(checkpoint, str) and checkpoint:
        if Path(checkpoint).exists():
            return load(checkpoint)
        raise UserError(
            f"{run.path} was trained on {name} with the checkpoint {checkpoint}, which is not here. Name it with -u."
        )
    if missing := not_here(name):
        raise UserError(f"{run.path} was trained on {name}. {missing} Where you have it, name it with -u.")
    if is_function(name):
        raise UserError(
            f"{run.path} says that its upstream was {name}, a function whose code would run. Read it, and name the "
            f"file that you trust with -u: -u {name}"
        )
    try:
        return load(name)
    except UserError as error:
        raise UserError(
            f"{run.path} is of a frozen run: it has a head and no encoder, and says that this was {name}. {error} "
            "Where you have it, name it with -u."
        ) from error


def refuse_other_layers(run: S3prlRun, upstream: Upstream) -> None:
    """Raise UserError for an upstream with other numbers of layers than a head sums or reads."""
    if run.weights is not None and len(run.weights) != upstream.num_layers:
        raise UserError(
            f"{run.path} sums {len(run.weights)} layers, and {upstream.name} has {upstream.num_layers}: it is not the "
            "encoder that the head was trained on. Name that one with -u."
        )
    if run.layer is not None and not -upstream.num_layers <= run.layer < upstream.num_layers:
        raise UserError(f"{run.path} reads layer {run.layer}, and {upstream.name} has {upstream.num_layers}.")


def refuse_other_width(run: S3prlRun, head: Head, upstream: Upstream) -> None:
    """Raise UserError for an upstream of another width than a head reads."""
    first = next(module for module in head.modules() if isinstance(module, torch.nn.Linear))
    if first.in_features != upstream.dim:
        raise UserError(
            f"The head of {run.path} reads states of width {first.in_features}, and those of {upstream.name} have "
            f"{upstream.dim}: it is not the encoder that the head was trained on. Name that one with -u."
        )


def described(run: S3prlRun) -> str:
    """Return which head it is, and the first of its tensors, for a message."""
    select = run.model.get("select") or run.model.get("module")
    of = f" ({select})" if isinstance(select, str) else ""
    task = f"that of {run.task}{of}" if run.task else "of an unknown task"
    return f"{task} with {', '.join(list(run.head)[:4])}"


# ---------------------------------------------------------------- recipe and names


def recipe_of(run: S3prlRun, family: type[Family], given: str | None) -> Recipe | None:
    """Return the recipe of a run's task: the one that is named, else the one that carries out s3prl's task here.

    None where there is none. Raises UserError for a recipe of other heads.
    """
    name = given or (task_of_s3prl(run.task or "") or {}).get("recipe")
    if not name:
        return None
    recipe = load_recipe(name)
    if type(family_of(recipe)) is family:
        return recipe
    if given is None:
        return None  # its arguments name another task than its tensors are of, which count
    raise UserError(
        f"{run.path} has the head of s3prl's {run.task or 'task'}, and {given} has heads of another kind. Leave -d "
        "out, or name a recipe of the same task."
    )


def names_of(run: S3prlRun, recipe: Recipe | None, count: int, labels: Path | None) -> tuple[str, ...] | None:
    """Return the names of a head's outputs: of the user's file, else those that the recipe has; None for unknown."""
    if labels is not None:
        return tuple(read_labels(labels, count))
    known = () if recipe is None else family_of(recipe).known_outputs()
    return tuple(known) if len(known) == count else None


def notes_on(head: HeadOfRun) -> Sequence[str]:
    """Return what was assumed of a run, and what of its checkpoint is carried nowhere."""
    run, upstream = head.run, head.upstream
    notes = []
    if not run.is_fine_tuned:
        notes.append(
            f"The run was frozen, and its file has no encoder: {upstream.name} is that of its arguments, or of -u, of "
            "which no more than layers and width can be checked."
        )
    if run.left_out:
        notes.append(f"Left behind: {', '.join(run.left_out)}, which only further training would read.")
    theirs = (task_of_s3prl(run.task or "") or {}).get("recipe")
    if head.recipe and theirs and load_recipe(theirs).corpus.effects != head.recipe.corpus.effects:
        notes.append(
            f"The head learned from audio as {theirs} prepares it (corpus.effects), and {head.recipe.name} prepares it "
            "otherwise, which its answers may suffer from."
        )
    if head.outputs is None and head.here is not None:
        notes.append(
            f"The checkpoint does not name its {head.count} outputs; they are numbered. --labels FILE names "
            "them, one a line."
        )
    if run.task == SLOTS:
        notes.append(
            "The outputs are three groups, the values of action, object and location one after the other: the answer "
            "is the best of each group, and not the best of all."
        )
    return [*notes, *(head.here.notes if head.here else ())]
