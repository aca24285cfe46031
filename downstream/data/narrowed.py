"""A dataset for heads that were learned before: fewer folds, and no training utterances to encode."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from downstream.data.dataset import Dataset


def on_folds(dataset: Dataset, names: Collection[str]) -> Dataset:
    """Return a dataset with the folds of these names alone."""
    kept = tuple(fold for fold in dataset.split.folds if fold.name in names)
    return replace(dataset, split=replace(dataset.split, folds=kept))


def without_training(dataset: Dataset) -> Dataset:
    """Return a dataset whose folds train on nothing."""
    folds = tuple(replace(fold, train=()) for fold in dataset.split.folds)
    return replace(dataset, split=replace(dataset.split, folds=folds))
