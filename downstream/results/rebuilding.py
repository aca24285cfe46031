"""Heads rebuilt from their file: their family, its recipe, and their modules with the weights that were kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from downstream.recipes import Recipe, validated
from downstream.results.head_file import HeadFile, HeadTensors
from downstream.tasks import Family, Head, HeadContext, Predictor, find_family, is_external
from downstream.training import shapes_and_types
from upstream.errors import UserError


def family_and_recipe(
    task: str, content: Mapping[str, object], family: str | None, where: Path
) -> tuple[Family, Recipe]:
    """Return the family of heads for their recipe; code of others is imported only where the user names it."""
    if is_external(task):
        if family is None:
            raise UserError(
                f"The heads of {where} are of the family {task}, which is not part of wavprobe, and its code would "
                "run. Read it, and name the file that you trust: --family PATH.py:CLASS."
            )
        task = family
    elif family is not None:
        raise UserError(
            f"The heads of {where} are of the family {task}, which is part of wavprobe; leave --family out."
        )
    kind = find_family(task)
    recipe = validated({**content, "task": task}, kind.recipe_type, f"The recipe in {where}")
    return kind(recipe), recipe


def predictor_of(name: str, about: HeadFile, family: Family) -> Predictor:
    """Return the predictor of a head of a file."""
    fold = about.folds[about.heads[name].fold]
    shape = about.upstream
    return family.predictor(HeadContext(fold.outputs, fold.facts, shape.layers, shape.dim, shape.stride))


def rebuilt(name: str, about: HeadFile, predictor: Predictor, tensors: HeadTensors, path: Path) -> Head:
    """Return a head with its weights, in evaluation mode; raise UserError where the file has those of another one."""
    head, weights = predictor.build(about.heads[name].layer), tensors.of(name)
    expected, found = shapes_and_types(head.state_dict()), shapes_and_types(weights)
    if expected != found:
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise UserError(
            f"The head {name} in {path} does not fit its recipe: {wrong[0]} is {written(found.get(wrong[0]))} instead "
            f"of {written(expected.get(wrong[0]))}. Get the file again, or the version of wavprobe that wrote it."
        )
    if bad := sorted(key for key, tensor in weights.items() if not tensor.isfinite().all()):
        raise UserError(f"The head {name} in {path} has NaN or infinite weights in {bad[0]}. Get the file again.")
    head.load_state_dict(weights)
    return head.eval()


def written(shape_and_type: tuple[object, ...] | None) -> str:
    """Return the shape and type of a tensor in words."""
    if shape_and_type is None:
        return "missing"
    shape, dtype = shape_and_type
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"  # type: ignore[call-overload]
