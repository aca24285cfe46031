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
    labels = labels_of(dataset, chosen)
    correlations = {name: correlations_of(states, labels, seed) for name, states in means.items() if labels.names}
    return Similarity(
        tuple(Cka(one, other, values) for (one, other), values in zip(pairs, compared, strict=True)),
        tuple(LabelCorrelation(name, values) for name, values in correlations.items()),
        labels.column,
        len(set(labels.names)),
        len(chosen),
        len(labels.rows),
        "frames" if moments else "means",
        labels.notes,
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


@dataclass(frozen=True)
class Labels:
    """Labels of the utterances that are compared, as far as some can be held out; none by default.

    column: what they are. names: (N,). rows: of these utterances among the compared ones, (N,).
    groups: what utterances share with others that depend on them, (N,); None where the labels are just that.
    notes: sentences on what was left out.
    """

    notes: tuple[str, ...]
    column: str = ""
    names: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    groups: tuple[str, ...] | None = None


def labels_of(dataset: Dataset, chosen: Sequence[int]) -> Labels:
    """Return the labels of the chosen utterances: the classes of the task, or the speakers where it compares these."""
    column = dataset.column
    if not dataset.labels and column != SPEAKER:
        return Labels((f"The task learns {column} and no classes, so layers have no labels to correlate with.",))
    all_names = [dataset.labels[i] if dataset.labels else dataset.utterances[i].speaker for i in chosen]
    counts = Counter(all_names)
    rows = tuple(row for row, name in enumerate(all_names) if counts[name] > 1)
    names = tuple(all_names[row] for row in rows)
    clusters = tuple(dataset.cluster(chosen[row]) for row in rows)
    if len(set(names)) < 2 or len(set(clusters)) < 2:
        return Labels((f"Labels in the column {column} are too few, or of too few speakers, to hold any out.",))
    alone = counted(len(chosen) - len(rows), "utterance was", "utterances were")
    notes = (f"{alone} left out of the correlation with labels, since no other one has the label.",)
    return Labels(
        notes if len(rows) < len(chosen) else (), column, names, rows, None if column == SPEAKER else clusters
    )


def correlations_of(states: Tensor, labels: Labels, seed: int) -> NDArray[np.float64]:
    """Return the correlation of every layer of states (L, N, D) with the labels, (L,)."""
    layers = (layer[list(labels.rows)].double().numpy() for layer in states)
    return np.array([held_out_correlation(layer, labels.names, labels.groups, seed) for layer in layers])


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
