"""What development chose, decided again from the scores that the record's grid has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from downstream.recipes import Recipe
from downstream.results.checking.numbers import alike, name_of, setting_in_words
from downstream.results.earlier import fit_of
from downstream.results.record import FitRecord, HeadRecord, Result
from downstream.training import Chosen, Config, Fit, LayerSetting, choose, clear_gain, configs, layer_settings
from upstream.errors import UserError


def contradictions_of_choice(record: Result, recipe: Recipe) -> Iterator[str]:
    """Yield a clause for each config that is lacking, or was not learned, and for each head that was not chosen.

    recipe: the one that the record says was run.
    """
    if record.given is not None:
        yield from of_given(record)
        return
    settings = settings_of(record, recipe)
    if any(layer.layer not in settings for layer in record.layers):
        yield "it has scores of layers that its recipe does not ask for"
        return
    yield from of_configs(record, recipe, settings)
    for fit in record.grid:
        yield from of_curve(fit, 1 if record.metric_types[record.select].higher_is_better else -1)
    yield from of_heads(record, settings)


def of_given(record: Result) -> Iterator[str]:
    """Yield clauses where heads that were given are said to have been learned or chosen."""
    if any(fit.curve or fit.lr is not None or not fit.chosen for fit in record.grid):
        yield "its heads were given, and its grid says that they were learned or chosen here"
    listed = Counter((head.fold, head.seed, head.layer, head.step) for head in record.heads)
    if listed != Counter((fit.fold, fit.seed, fit.layer, fit.step) for fit in record.grid):
        yield "its heads are not those of its grid"


def settings_of(record: Result, recipe: Recipe) -> list[LayerSetting]:
    """Return the layers that a run asked for; those without any score are not in its record."""
    try:
        return layer_settings(recipe, record.upstream.layers, asked_layer(record, recipe))
    except UserError:
        return []


def asked_layer(record: Result, recipe: Recipe) -> int | None:
    """Return the layer that was asked for beside the recipe (-l), counted from the first; None for none."""
    only = record.layers[0].layer
    listed = [layer for layer in recipe.sweep.layers(record.upstream.layers) if isinstance(layer, int)]
    return only if isinstance(only, int) and not listed else None


def of_configs(record: Result, recipe: Recipe, settings: Sequence[LayerSetting]) -> Iterator[str]:
    """Yield clauses where the grid is not every config of the sweep on every fold, each one once."""
    seed = record.grid[0].seed if record.grid else 0  # where the recipe lists none
    wanted = configs(recipe, settings, record.upstream.layers, seed)
    expected = Counter((fold.name, config) for fold in record.folds for config in wanted)
    found = Counter((fit.fold, config_of(fit)) for fit in record.grid)
    for fold, config in expected - found:
        yield f"its grid lacks {written(config)} on {fold}, which its recipe asks for"
    for fold, config in found - expected:
        yield f"its grid has {written(config)} on {fold}, which its recipe does not ask for"


def of_curve(fit: FitRecord, sign: int) -> Iterator[str]:
    """Yield a clause where a fit's step and score are not the first best ones of its curve; sign: -1 for errors."""
    counted = [
        (step, score) for step, loss, score in fit.curve if loss is not None and score is not None and step is not None
    ]
    if not fit.curve:
        return
    best = max(counted, key=lambda point: sign * point[1], default=(0, None))
    if fit.step != best[0] or not alike(fit.development, best[1]):
        yield (
            f"development was best at step {best[0]} of {written(config_of(fit))} on {fit.fold}, and it says step "
            f"{fit.step}"
        )


def of_heads(record: Result, settings: Sequence[LayerSetting]) -> Iterator[str]:
    """Yield clauses on heads that are not those with the best development score, and on the grid's marks."""
    folds = [fold.name for fold in record.folds]
    if any(fit.fold not in folds for fit in record.grid):
        return  # said already
    sign = 1 if record.metric_types[record.select].higher_is_better else -1
    fits = [fit_of(one, folds.index(one.fold), sign) for one in record.grid]
    metric = record.metric_types[record.select].metric
    chosen = choose(fits, settings, [clear_gain(fold.dev.utterances, metric) for fold in record.folds])
    expected = {key_of(one, folds): one.fit for one in chosen}
    for head in record.heads:
        fit = expected.pop((head.fold, head.seed, head.setting), None)
        if fit is None:
            yield f"the head {name_of(head)} is of a seed or layer for which its grid has no score on some fold"
        elif not is_head_of(head, fit, sign):
            yield (
                f"development chooses {written(fit.config)} at step {fit.step} for the head {name_of(head)}, and the "
                f"record has {written(Config(head.lr, head.seed, head.layer))} at step {head.step}"
            )
    for fold, seed, setting in expected:
        yield f"it has no head of seed {seed} on {setting_in_words(setting)} of {fold}, and its grid has scores of it"
    marked = {id(one.fit) for one in chosen}
    for fit, one in zip(fits, record.grid, strict=True):
        if (id(fit) in marked) != one.chosen:
            said = "is marked as chosen, and was not" if one.chosen else "was chosen, and is not marked"
            yield f"{written(fit.config)} on {one.fold} {said}"


def key_of(chosen: Chosen[Fit], folds: Sequence[str]) -> tuple[str, int, LayerSetting]:
    return folds[chosen.fit.fold], chosen.fit.config.seed, chosen.setting


def is_head_of(head: HeadRecord, fit: Fit, sign: int) -> bool:
    """Return True where a head is the one of a fit."""
    same = (head.lr, head.layer, head.step) == (fit.config.lr, fit.config.layer, fit.step)
    return same and alike(head.development, sign * fit.development)


def config_of(fit: FitRecord) -> Config:
    return Config(fit.lr, fit.seed, fit.layer)


def written(config: Config) -> str:
    """Return a config in words."""
    rate = "" if config.lr is None else f"rate {config.lr:g}, "
    return f"{rate}seed {config.seed} on {setting_in_words(config.layer)}"
