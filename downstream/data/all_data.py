"""All data as one training part, for a head that is learned to be used and not to be tested."""

from __future__ import annotations

from dataclasses import replace

from downstream.data.dataset import Dataset
from downstream.data.splits import Fold

FINAL = "final"  # the fold that trains on all data


def on_all_data(dataset: Dataset, longer_than: float) -> Dataset:
    """Return the dataset with one fold, which trains on every utterance that some fold uses, and tests nothing.

    longer_than: seconds; as in training, shorter utterances are left out. The development set is that of the first
    fold. It is trained on as well, so that a score on it tells no more than whether the training diverged.
    """
    train = tuple(index for index in dataset.split.used if dataset.items[index].seconds > longer_than)
    fold = Fold(FINAL, train, dataset.split.folds[0].dev, ())
    return replace(dataset, split=replace(dataset.split, folds=(fold,)))
