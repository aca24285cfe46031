"""What was measured of layers, kept beside their states: a probe that is typed again reads it back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from downstream.data import Dataset
from downstream.similarity.measuring import (
    MOST,
    Cka,
    LabelCorrelation,
    Similarity,
    chosen_utterances,
    labels_of,
    measure,
)
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.files import STATES, write_atomically
from upstream.json_file import read_json_object

logger = logging.getLogger("wavprobe")

SIMILARITY = "similarity"  # subfolder of the store
VERSION = 1  # of how layers are compared: what another version measured is measured again
SEED = 0


def measured(upstreams: Mapping[str, Upstream], dataset: Dataset, store: Path, progress: bool = True) -> Similarity:
    """Return what `measure` does of the means over time; what was measured before of the same is read back.

    store: folder of states and of what was measured. A file that is damaged, or cannot be written, costs time alone.

    Raises UserError as `measure` does.
    """
    path = store / SIMILARITY / f"{inputs_digest(upstreams, dataset)}.json"
    if path.is_file():
        try:
            return read(path)
        except (UserError, LookupError, TypeError, ValueError) as error:
            logger.warning("%s cannot be read (%s); layers are compared again.", path, error)
    found = measure(upstreams, dataset, store / STATES, seed=SEED, progress=progress)
    with contextlib.suppress(OSError):  # a store that can be read alone
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(written(found)).encode())
    return found


def inputs_digest(upstreams: Mapping[str, Upstream], dataset: Dataset) -> str:
    """Return the digest of all that is compared: weights, recordings, labels and who speaks."""
    chosen = chosen_utterances(dataset, MOST, SEED)
    content = [
        VERSION,
        [(name, upstream.fingerprint) for name, upstream in upstreams.items()],
        [dataset.items[index].digest for index in chosen],
        asdict(labels_of(dataset, chosen)),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def written(found: Similarity) -> dict[str, Any]:
    """Return what was measured as JSON; null for NaN."""
    content = asdict(found)
    for one in (*content["cka"], *content["labels"]):
        values: NDArray[np.object_] = one["values"].astype(object)
        values[np.isnan(one["values"])] = None
        one["values"] = values.tolist()
    return content


def read(path: Path) -> Similarity:
    """Return what was measured from its file."""
    content = read_json_object(path)
    content["cka"] = tuple(Cka(**{**one, "values": numbers(one["values"])}) for one in content["cka"])
    content["labels"] = tuple(
        LabelCorrelation(**{**one, "values": numbers(one["values"])}) for one in content["labels"]
    )
    return Similarity(**{**content, "notes": tuple(content["notes"])})


def numbers(values: Any) -> NDArray[np.float64]:
    """Return nested lists as an array; None is NaN."""
    return np.array(values, dtype=np.float64)
