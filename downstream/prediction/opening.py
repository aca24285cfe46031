"""From a run, or a file of heads, to heads that are ready to be applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.prediction.applied import AppliedHeads
from downstream.prediction.sources import about_heads, chosen_heads, located, upstream_of
from downstream.results import HeadFile, opened_heads, predictor_of, rebuilt
from downstream.tasks import errors_named
from upstream.base import Upstream
from upstream.errors import UserError


def applied_heads(
    run: str | Path,
    names: Sequence[str] = (),
    upstream: str | Path | Upstream | None = None,
    device: str = "auto",
    family: str | None = None,
) -> AppliedHeads:
    """Return the heads of a run, or of a file of heads, on their upstream.

    run: a run's folder, its result.json, or a file of heads. names: of the heads that answer; none for those of the
        run's score. upstream: its name or path where it is not found as recorded; or a loaded one. device: of it.
    family: "module.py:Family" of an external family that the user trusts.

    Raises UserError for whatever is missing, damaged, or does not fit together.
    """
    source = located(run, names)
    with opened_heads(source.path) as tensors:
        about, kind, recipe = about_heads(source, tensors, family)
        with errors_named(recipe.task):
            predictors = {name: predictor_of(name, about, kind) for name in about.heads}
            averages = next(iter(predictors.values())).averages
            chosen = chosen_heads(about, names, averages)
            refuse_other_outputs(chosen, about, source.path)
            encoder = upstream_of(about, upstream, device, run)
            heads = {name: rebuilt(name, about, predictors[name], tensors, source.path) for name in chosen}
    applied = AppliedHeads(about, recipe, encoder, predictors[chosen[0]], heads)
    for head in heads.values():
        head.to(applied.device)
    return applied


def refuse_other_outputs(names: Sequence[str], about: HeadFile, path: Path) -> None:
    """Raise UserError for heads that cannot answer together, because their outputs have different meanings."""
    if len({tuple(about.folds[about.heads[name].fold].outputs) for name in names}) > 1:
        raise UserError(f"The heads {', '.join(names)} in {path} have different outputs; name one with --head.")
