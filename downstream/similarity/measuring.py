"""Compare the layers of upstreams with each other, and with the labels of a task."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from downstream.data import Dataset
from downstream.similarity.alignment import BATCH, FEWEST, cka_of_batches, linear_cka, minibatches
from downstream.similarity.canonical import held_out_correlation
from downstream.similarity.stored import frames_at, frames_with, means_of, store_with
from upstream.base import Upstream
from upstream.encode import Item
from upstream.errors import UserError
from upstream.store import StateStore
from upstream.text import counted

MOST = 5000  # utterances that are compared: their means take 200 MB for Base
SPEAKER = "speaker"  # what a dataset calls the column whose labels are its utterances' speakers


@dataclass(frozen=True)
class Cka:
    """Linear CKA between the layers of two upstreams, or of one: values (L, L'), NaN for layers without variance."""

    one: str
    other: str
    values: NDArray[np.float64]


@dataclass(frozen=True)
class LabelCorrelation:
    """Held-out canonical correlation of every layer of an upstream with a task's labels, (L,)."""

    upstream: str
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """What was measured of some upstreams on the utterances of one dataset.

    cka: of every upstream with itself, and of each pair. labels: of every upstream; empty without labels.
    column, classes: what the labels are, and how many of them; "" and 0 without labels.
    utterances, labelled: how many were compared with each other, and with labels. compared: "means" or "frames".
    notes: sentences on what was left out.
    """

    cka: tuple[Cka, ...]
    labels: tuple[LabelCorrelation, ...]
    column: str
    classes: int
    utterances: int
    labelled: int
    compared: str
    notes: tuple[str, ...] = ()

    def tables(self) -> dict[str, str]:
        """Return the content of a CSV file by its name: cka.csv, and label_cca.csv where there are labels."""
        alignments = (
            (found.one, layer, found.other, other, value)
            for found in self.cka
            for (layer, other), value in np.ndenumerate(found.values)
        )
        tables = {"cka.csv": table(("upstream", "layer", "other_upstream", "other_layer", "cka"), alignments)}
        if self.labels:
            heading = ("upstream", "layer", "labels", "classes", "utterances", "canonical_correlation")
            correlations = (
                (found.upstream, layer, self.column, self.classes, self.labelled, value)
                for found in self.labels
                for layer, value in enumerate(found.values)
            )
            tables["label_cca.csv"] = table(heading, correlations)
        return tables


def table(heading: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> str:
    """Return rows as CSV, the last column as an exact number; one that is NaN is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows((*row, "" if np.isnan(value) else repr(float(value))) for *row, value in rows)
    return stream.getvalue()


def measure(
    upstreams: Mapping[str, Upstream],
    dataset: Dataset,
    root: Path,
    *,
    moments: int = 0,
    most: int = MOST,
    seed: int = 0,
    progress: bool = True,
) -> Similarity:
    """Return the CKA of all layers of all upstreams, and their correlation with the dataset's labels.

    upstreams: by the names that they have in tables and pictures.
    root: folder of all states; what it has is read, and means that it lacks are encoded.
    moments: 0 to compare means over time; else so many frames of each utterance, at moments drawn from it.
    most: utterances that are compared; of more, so many are drawn.
    seed: of everything drawn: utterances, minibatches, moments, and what is held out.

    Raises UserError for fewer than four different utterances, and for moments where frames are not stored.
    """
    chosen = chosen_utterances(dataset, most, seed)
    items = [dataset.items[index] for index in chosen]
    means = {name: means_of(store_with(each, items, root, progress), items) for name, each in upstreams.items()}
    pairs = list(combinations_with_replacement(upstreams, 2))
    if moments:
        frames = {name: frames_with(upstream, items, root, progress) for name, upstream in upstreams.items()}
        compared = [cka_of_frames(frames[one], frames[other], items, moments, seed) for one, other in pairs]
    else:
        compared = [linear_cka(means[one], means[other], seed=seed) for one, other in pairs]
    labels, labelled, notes = labels_of(dataset, chosen)
    if labels:
        groups = None if dataset.column == SPEAKER else [dataset.cluster(chosen[row]) for row in labelled]
        correlations = tuple(
            LabelCorrelation(name, correlations_of(states[:, labelled], labels, groups, seed))
            for name, states in means.items()
        )
    return Similarity(
        tuple(Cka(one, other, values) for (one, other), values in zip(pairs, compared, strict=True)),
        correlations if labels else (),
        dataset.column if labels else "",
        len(set(labels)),
        len(chosen),
        len(labelled),
        "frames" if moments else "means",
        notes,
    )


def chosen_utterances(dataset: Dataset, most: int, seed: int) -> list[int]:
    """Return the utterances to compare, equal audio once; raise UserError where they are too few."""
    distinct = sorted({item.digest: index for index, item in reversed(list(enumerate(dataset.items)))}.values())
    if len(distinct) < FEWEST:
        raise UserError(
            f"Layers are compared on {FEWEST} different utterances at least, and {dataset.corpus.title} has "
            f"{len(distinct)} here; take a larger part of it."
        )
    if len(distinct) <= most:
        return distinct
    drawn = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed))[:most]
    return [distinct[place] for place in sorted(drawn.tolist())]


def labels_of(dataset: Dataset, chosen: Sequence[int]) -> tuple[list[str], list[int], tuple[str, ...]]:
    """Return the labels of the chosen utterances that can be held out, the rows of these among them, and notes.

    No labels where the task has none, or fewer than two classes with two utterances.
    """
    if dataset.labels:
        labels = [dataset.labels[index] for index in chosen]
    elif dataset.column == SPEAKER:
        labels = [dataset.utterances[index].speaker for index in chosen]
    else:
        return (
            [],
            [],
            (f"The task has no classes (it learns {dataset.column}), so that layers have no label to correlate with.",),
        )
    counts = Counter(labels)
    rows = [row for row, label in enumerate(labels) if counts[label] > 1]
    clusters = {dataset.cluster(chosen[row]) for row in rows}
    if len({labels[row] for row in rows}) < 2 or len(clusters) < 2:
        return [], [], (f"Labels in column {dataset.column} are too few, or of too few speakers, to hold any out.",)
    alone = len(labels) - len(rows)
    left_out = (f"{counted(alone, 'utterance was', 'utterances were')} left out, whose label no other one has.",)
    return [labels[row] for row in rows], rows, left_out if alone else ()


def correlations_of(
    states: Tensor, labels: Sequence[str], groups: Sequence[str] | None, seed: int
) -> NDArray[np.float64]:
    """Return the correlation of every layer of states (L, N, D) with labels (N,)."""
    return np.array([held_out_correlation(layer.double().numpy(), labels, groups, seed) for layer in states])


def cka_of_frames(
    one: StateStore, other: StateStore, items: Sequence[Item], moments: int, seed: int
) -> NDArray[np.float64]:
    """Return linear CKA of frames: so many minibatch passes, in each of which an utterance gives one frame.

    Frames of one utterance are alike, and would count as alike in both upstreams if they were compared with each other.
    """

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for number in range(moments):
            places = torch.rand(len(items), generator=generator)
            for rows in minibatches(len(items), BATCH, seed + number):
                batch = [items[row] for row in rows.tolist()]
                yield frames_at(one, batch, places[rows]), frames_at(other, batch, places[rows])

    return cka_of_batches(batches())
