"""Upstreams with a single layer: the weighted sum is that layer, so that heads on both are learned once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from downstream.training.loop import Fit
from downstream.training.sweep import Config


def distinct(configs: Sequence[Config], num_layers: int) -> list[Config]:
    """Return the configs that have to be learned; of an upstream with one layer, one for each rate and seed."""
    if num_layers > 1:
        return list(configs)
    return list({(config.lr, config.seed): config for config in reversed(configs)}.values())[::-1]


def for_every_config(fits: Sequence[Fit], configs: Sequence[Config]) -> list[Fit]:
    """Return a fit for every config: its own, or that of the config which was learned in its place.

    The weight of a single layer does not matter, and has no gradient, so that both fits are the same to the bit.
    """
    if {fit.config for fit in fits} == set(configs):
        return list(fits)
    learned = {(fit.fold, fit.config.lr, fit.config.seed): fit for fit in fits}
    found = [(learned[fold, config.lr, config.seed], config) for fold in folds_of(fits) for config in configs]
    return [fit if fit.config == config else copy_for(config, fit) for fit, config in found]


def folds_of(fits: Sequence[Fit]) -> list[int]:
    """Return the folds that were learned, in order."""
    return list(dict.fromkeys(fit.fold for fit in fits))


def copy_for(config: Config, fit: Fit) -> Fit:
    """Return a fit as that of another config; weights of its own, since files hold each tensor under one name."""
    return replace(fit, config=config, weights={name: tensor.clone() for name, tensor in fit.weights.items()})
