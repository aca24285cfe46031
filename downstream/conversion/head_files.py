"""The head of an s3prl run as a file of heads, which `wavprobe predict` and `wavprobe run --head-from` apply."""

from __future__ import annotations

from pathlib import Path

from downstream.conversion.from_s3prl import SLOTS, HeadOfRun
from downstream.data import find_card
from downstream.recipes import Recipe
from downstream.results import (
    EXTENDED,
    Anonymous,
    CorpusNote,
    FoldOutputs,
    HeadFile,
    NamedHead,
    Origin,
    StatesNote,
    UpstreamRecord,
    head_name,
    written_heads,
)
from downstream.tasks import HeadContext, family_of, load_recipe
from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.text import counted

WHOLE = "whole"  # the fold of a task without folds


def write_head(head: HeadOfRun, to: Path) -> HeadFile:
    """Write the head of a run as a file of heads; return its metadata.

    Raises UserError for a head that no recipe here has: of a task that is not here, or of other widths.
    """
    about = metadata_of(head, recipe_like(head))
    (name,) = about.heads
    tensors = {f"{name}.{part}": tensor for part, tensor in head.head.state_dict().items()}
    to.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to, written_heads(tensors, about))
    return about


def metadata_of(head: HeadOfRun, recipe: Recipe) -> HeadFile:
    """Return the metadata of a head as one of a recipe's, without whose machine it was made on."""
    run, family, card = head.run, family_of(recipe), find_card(recipe.corpus.name)
    fold, layer = run.fold or WHOLE, run.layer
    of_layer = None if layer is None else layer % head.upstream.num_layers
    outputs = list(head.outputs or (str(number) for number in range(head.count)))
    own = NamedHead(
        fold=fold, seed=run.seed, setting=of_layer, layer=of_layer, lr=None, step=run.step, development=None
    )
    about = HeadFile(
        format=EXTENDED,
        task=recipe.task,
        recipe=recipe.model_dump(mode="json"),
        upstream=UpstreamRecord.of(head.upstream),
        upstream_seed=0,
        states=StatesNote(reduction=family.needs(), codec=None),
        corpus=CorpusNote(name=card.name, title=card.title, licence=card.licence, synthetic=False),
        score=None,
        higher_is_better=family.metrics[recipe.select].higher_is_better,
        folds={fold: FoldOutputs(outputs=outputs)},
        heads={head_name(fold, run.seed, of_layer): own},
        primary=[head_name(fold, run.seed, of_layer)],
        origins=[
            Origin(program="s3prl", task=run.task, step=run.step, development=run.best, file_sha256=run.file_sha256)
        ],
    )
    return HeadFile.model_validate(Anonymous().content(about.model_dump(mode="json")))


def recipe_like(head: HeadOfRun) -> Recipe:
    """Return the recipe whose heads are like the run's; raise UserError where none is."""
    run, recipe = head.run, head.recipe
    if run.task == SLOTS:
        raise UserError(
            f"{run.path} answers with three values (action, object, location), and heads here with one class. "
            "Convert it to a task model: name a folder as the destination."
        )
    if head.family is None or head.here is None:
        raise UserError(
            f"{run.path} is a head for diarization, and no recipe here has such heads. Convert it to a task model: "
            "name a folder as the destination."
        )
    if recipe is None:
        raise UserError(
            f"There is no recipe for s3prl's {run.task or 'task'} here, which says what the head answers. Name one of "
            "the same kind with -d, or a folder as the destination, for a task model."
        )
    if head.outputs is None and head.family.naming(()):
        known = family_of(recipe).known_outputs()
        raise UserError(
            f"{run.path} has {counted(head.count, 'output')}, and {recipe.name} has "
            f"{len(known) or 'those of its data'}: say what they are with --labels FILE, one name a line."
        )
    overrides = [*head.here.overrides]
    if head.outputs is not None and tuple(head.outputs) != tuple(family_of(recipe).known_outputs()):
        overrides += head.family.naming(head.outputs)
    chosen = load_recipe(recipe.name, overrides)
    refuse_other_shapes(head, chosen)
    return chosen


def refuse_other_shapes(head: HeadOfRun, recipe: Recipe) -> None:
    """Raise UserError for a head whose weights have other shapes than those of the recipe's heads."""
    upstream = head.upstream
    outputs = head.outputs or [str(number) for number in range(head.count)]
    context = HeadContext(outputs, {}, upstream.num_layers, upstream.dim, upstream.stride)
    like = family_of(recipe).predictor(context).build(head.head.weighted_sum.layer)
    expected = {name: tuple(tensor.shape) for name, tensor in like.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in head.head.state_dict().items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))[0]
        raise UserError(
            f"The head of {head.run.path} is like none that {recipe.name} builds: {wrong} is {found.get(wrong)}, and "
            f"there it is {expected.get(wrong)}. Convert it to a task model: name a folder as the destination."
        )
