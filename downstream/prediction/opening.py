"""From a run, or a file of heads, to heads that are ready to be applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.prediction.applied import AppliedHeads
from downstream.prediction.sources import about_heads, chosen_heads, encoder_of, located, upstream_of
from downstream.recipes import Recipe
from downstream.results import HeadFile, in_words, opened_heads, predictor_of, rebuilt
from downstream.tasks import errors_named, family_of
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
            averages = next(iter(predictors.values())).averages and not about.encoders  # each reads another one
            chosen = chosen_heads(about, names, averages)
            refuse_other_outputs(chosen, about, source.path)
            if about.encoders:
                encoder = encoder_of(about, chosen[0], upstream, device, source.path)
            else:
                encoder = upstream_of(about, upstream, device, run)
            heads = {name: rebuilt(name, about, predictors[name], tensors, source.path) for name in chosen}
    applied = AppliedHeads(
        title=recipe.name,
        upstream=encoder,
        predictor=predictors[chosen[0]],
        heads=heads,
        reduction=about.states.reduction,
        codec=about.states.codec,
        effects=recipe.corpus.effects,
        sentence=who_answers(about, recipe, encoder, chosen),
        family=recipe.task,
        about=about,
        recipe=recipe,
    )
    for head in heads.values():
        head.to(applied.device)
    return applied


def who_answers(about: HeadFile, recipe: Recipe, upstream: Upstream, names: Sequence[str]) -> str:
    """Return a sentence on who answers, and on what is known of how good the answers are. names: of the heads."""
    who = f"The head {names[0]}" if len(names) == 1 else f"The mean of {len(names)} heads"
    if about.score is None:
        whose = f"; learned by {in_words(about.origins)}, not measured here" if about.origins else ""
        return f"{who} of {recipe.name} on {upstream.name} answers{whose}."
    metric = family_of(recipe).metrics[about.score.name]
    part = "" if about.score.part == "test" else f"the part {about.score.part} of "
    # A head that learned from all data has no score of its own, nor a development score.
    is_tested = all(about.heads[name].development is not None for name in names)
    whose = "the run's score" if is_tested else "the score of heads that learned from less"
    return (
        f"{who} of {recipe.name} on {upstream.name} answers; {whose} is {metric.title} "
        f"{metric.written(about.score.value)}{metric.unit} on {part}{about.corpus.title}."
    )


def refuse_other_outputs(names: Sequence[str], about: HeadFile, path: Path) -> None:
    """Raise UserError for heads that cannot answer together, because their outputs have different meanings."""
    if len({tuple(about.folds[about.heads[name].fold].outputs) for name in names}) > 1:
        raise UserError(f"The heads {', '.join(names)} in {path} have different outputs; name one with --head.")
