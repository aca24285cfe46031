"""What a reader of a score should know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from downstream.results.record import FoldRecord, GivenRecord, HeadRecord, LayerScores, in_words
from downstream.results.run import Run
from downstream.tasks import Family
from downstream.training import LayerSetting

# Overrides that keep a recipe of any family within its protocol: SUPERB tunes the learning rate; more seeds, or another
# way to store states, change no rule of it.
WITHIN_PROTOCOL = (
    "optimizer.lr=",
    "sweep.lr=",
    "sweep.seed=",
    "store.mode=",
    "store.codec=",
)
UNTRAINED = "The upstream is untrained"
FINE_TUNED = "The encoder was fine-tuned"
GIVEN = "The heads were not learned"

CHANGED = "Not SUPERB's recipe"  # begins the caveat of a run whose overrides leave the protocol
DEVIATION = "Deviation from the protocol"


def caveats(run: Run, folds: Sequence[FoldRecord], first: LayerScores, heads: Sequence[HeadRecord]) -> list[str]:
    """Return what a reader of the score should know, the most important first."""
    recipe = run.recipe
    found = []
    changed = departures(run.options.overrides, run.options.layer, first.layer, run.family)
    if changed and recipe.protocol == "superb":
        found.append(f"{CHANGED}: {', '.join(changed)}.")
    if recipe.finetune is not None:
        found.append(f"{FINE_TUNED} with its heads: this is no score of a frozen encoder, nor to be ranked with any.")
    if run.given is not None:
        found += of_given(run.given.record, recipe.name)
    if run.upstream.provenance.random_init:
        found.append(f"{UNTRAINED}: this is a control, not a score of the pretrained model.")
    found += against_chance(run, first)
    found += run.task.caveats()
    found += run.dataset.speaker_caveats
    found += unseen_classes(folds)
    found += of_learning(run, heads)
    if run.plan.fell_back:
        found.append(
            "The store had no room for the states, so they were computed while the heads learned; with a store they "
            "are rounded otherwise, and single answers may differ."
        )
    found += [f"{DEVIATION}: {deviation}" for deviation in recipe.deviations]
    if run.taken_from is not None:
        found.append(f"The heads are those that the run {run.taken_from} learned; only their test is new.")
    return found


def of_given(given: GivenRecord, recipe: str) -> list[str]:
    """Return sentences on heads that were learned before."""
    learned = in_words(given.origins) or f"a run of {given.recipe} on {given.corpus}"
    found = [
        f"{GIVEN} by this run of {recipe}, but by {learned}: nothing here chose them, and they may have learned from "
        "utterances that they are tested on."
    ]
    if not given.same_audio:
        found.append("The heads learned from audio with other effects (corpus.effects) than they were tested on.")
    return found


def of_learning(run: Run, heads: Sequence[HeadRecord]) -> list[str]:
    """Return sentences on how heads were learned and chosen; none where they were given."""
    if run.given is not None:
        return []
    return [
        *chosen_on_test(run),
        *of_the_mix(run),
        *of_the_sweep(run, heads),
        *of_the_last_step(run, heads),
    ]


def departures(overrides: Sequence[str], layer: int | None, scored: LayerSetting, family: Family) -> list[str]:
    """Return which overrides, and which single layer (-l), leave the protocol of a recipe, in words.

    Further layers beside the weighted sum leave it as it is, as long as the sum is what was scored first.
    """
    keeps_score = ("sweep.layer=",) if scored is None else ()
    allowed = (*WITHIN_PROTOCOL, *keeps_score, *family.within_protocol)
    changed = [one for one in overrides if not one.startswith(allowed)]
    return changed if layer is None else [*changed, f"layer {layer} alone"]


def against_chance(run: Run, first: LayerScores) -> list[str]:
    """Return a sentence for each test part where knowing nothing is always right, or would have scored better."""
    metric, found = run.family.metrics[run.recipe.primary], []
    best = metric.highest if metric.higher_is_better else metric.lowest
    for one in first.scores:
        if one.metric != run.recipe.primary or one.chance is None:
            continue
        value, chance = (f"{metric.written(number)}{metric.unit}" for number in (one.value, one.chance))
        if one.chance == best:
            found.append(
                f"Chance on the part {one.part} ({run.family.chance_means}) is {metric.title} {chance}: no head can do "
                "better, and the score says nothing."
            )
        elif metric.sign * (one.value - one.chance) < 0:
            found.append(
                f"On the part {one.part} the {metric.title} of {value} is worse than chance, {chance} "
                f"({run.family.chance_means}): what was learned does not help there."
            )
    return found


def unseen_classes(folds: Sequence[FoldRecord]) -> list[str]:
    """Return a sentence for each fold that is tested on classes without training utterances."""
    unseen: Mapping[str, list[str]] = {
        fold.name: [name for name, count in fold.test.labels.items() if count and not fold.train.labels.get(name)]
        for fold in folds
    }
    return [
        f"{fold} is tested on {', '.join(names)}, of which its training part has nothing."
        for fold, names in unseen.items()
        if names
    ]


def chosen_on_test(run: Run) -> list[str]:
    """Return a sentence where the test set chose the step, with the score at the last step."""
    if not any(fold.dev == fold.test for fold in run.dataset.split.folds):
        return []
    if run.recipe.learned is None:
        return ["The layer was chosen on the test set, so the score is optimistic."]
    metric = run.select
    first = [one.fit for one in run.scored if one.setting == run.scored[0].setting]
    last = metric.sign * float(np.mean([fit.history[-1][2] for fit in first]))
    return [
        f"The step was chosen on the test set, as SUPERB does it, so the score is optimistic: at the last step the "
        f"{metric.title} is {metric.written(last)}{metric.unit}."
    ]


def of_the_mix(run: Run) -> list[str]:
    """Return a sentence where one layer's heads are better on development than those on the weighted sum.

    Of each fold and seed the best learning rate counts, and the layer is the best one on average over all of them.
    """
    if run.recipe.learned is None:  # an even sum that nothing has learned
        return []
    by_layer: dict[int | None, dict[tuple[int, int], float]] = {}
    for fit in run.fits:
        own, group = by_layer.setdefault(fit.config.layer, {}), (fit.fold, fit.config.seed)
        own[group] = max(fit.development, own.get(group, -math.inf))
    mix = by_layer.pop(None, {})
    gains = {
        layer: [own[group] - score for group, score in mix.items()]
        for layer, own in by_layer.items()
        if own.keys() == mix.keys() and np.isfinite([*own.values(), *mix.values()]).all()
    }
    best = max(gains, key=lambda layer: np.mean(gains[layer]), default=None)
    if best is None or np.mean(gains[best]) <= 0:
        return []
    metric, gain = run.select, float(np.mean(gains[best]))
    points = " points of" if metric.percent else ""
    return [
        f"On development, layer {best} alone is better than the weighted sum in "
        f"{sum(one > 0 for one in gains[best])} of {len(mix)} fits, by {metric.written(gain)}{points} "
        f"{metric.title} on average."
    ]


def of_the_sweep(run: Run, heads: Sequence[HeadRecord]) -> list[str]:
    """Return sentences on heads that diverged, on seeds left out for it, and on rates at the end of the list."""
    found = []
    if diverged := sum(fit.diverged is not None for fit in run.fits):
        found.append(f"{diverged} of {len(run.fits)} heads diverged, and their training stopped; the grid shows which.")
    asked = {(fit.config.seed, setting) for fit in run.fits for setting in run.settings}
    for seed, setting in sorted(asked - {(head.seed, head.setting) for head in heads}, key=str):
        where = "the weighted sum" if setting is None else f"layer {setting}"
        found.append(f"Seed {seed} on {where} is left out: on some fold no learning rate gave a score.")
    if run.upstream.num_layers == 1 and len(run.settings) > 1:
        found.append("The upstream has one layer, and the weighted sum is that layer: their heads are the same ones.")
    rates = run.recipe.sweep.lr
    edges = {min(rates), max(rates)} if len(rates) > 1 else set()
    if at_edge := sum(head.lr in edges for head in heads):
        found.append(f"{at_edge} of {len(heads)} chosen learning rates are at an end of the list; try a wider one.")
    return found


def of_the_last_step(run: Run, heads: Sequence[HeadRecord]) -> list[str]:
    """Return a sentence on heads for which development chose the very last of several evaluations."""
    if run.recipe.learned is None:
        return []
    training = run.recipe.learned.training
    at_end = sum(head.step == training.steps for head in heads)
    if not at_end or training.evaluate_every >= training.steps:
        return []
    leaving = ", which is no longer SUPERB's recipe" if run.recipe.protocol == "superb" else ""
    return [
        f"Development was best at the last step, {training.steps:,}, for {at_end} of {len(heads)} chosen heads: "
        f"training may have stopped too early. Try -o training.steps={2 * training.steps}{leaving}."
    ]
