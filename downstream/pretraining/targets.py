"""Targets of masked prediction: the number of the nearest k-means centre of every frame, kept in the store."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from downstream.pretraining.features import FEATURES_VERSION, features
from downstream.pretraining.speech import HOP, WINDOW, Speech, Stream
from downstream.recipes import Target
from downstream.training import read_snapshot, write_snapshot
from upstream.base import Upstream
from upstream.errors import UserError

logger = logging.getLogger("wavprobe")

TARGETS_VERSION = 1  # increase it whenever the same features give other targets
FITTED = 100_000  # frames that k-means is fitted to
BATCH = 10_000  # frames of a mini-batch, HuBERT's
BEGINNINGS = 5  # of k-means; the best one goes on
PIECE = 20 * 50  # frames that an upstream encodes at once
ROWS = 16_384  # compared with the centres at once


@dataclass(frozen=True)
class Codebook:
    """One codebook and the codes of all streams.

    codes: of each stream, (T,) int16. perplexity: of the codes, exp of their entropy. run: mean length of a run of
    equal codes, frames. file: in the store.
    """

    target: Target
    codes: tuple[Tensor, ...]
    perplexity: float
    run: float
    file: Path

    def described(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return self.target.model_dump(mode="json") | {"perplexity": self.perplexity, "mean_run": self.run}


def codebook(
    target: Target, speech: Speech, seed: int, store: Path, model: Upstream | None = None, progress: bool = True
) -> Codebook:
    """Return the codes of all streams in one codebook; those that were computed before are read from the store.

    seed: of k-means. model: whose layer is clustered, of `features: layer`.
    Raises UserError for a layer that the model does not have, and where there are fewer frames than clusters.
    """
    file = store / "targets" / key_of(target, speech, seed, model)
    found = read_snapshot(file)
    if found is None:
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = rows_of(target, model)
        centres = fitted_centres(target, speech, seed, rows)
        hidden = None if progress else True
        shown = tqdm(speech.streams, f"targets {target.called}", unit=" streams", disable=hidden, leave=False)
        codes = [nearest_centres(torch.cat(list(rows(stream))), centres) for stream in shown]
        found = {"centres": centres, "codes": torch.cat(codes)}, {"target": target.model_dump(mode="json")}
        write_snapshot(file, *found)
    codes = list(torch.split(found[0]["codes"], [stream.frames for stream in speech.streams]))
    return Codebook(target, tuple(codes), perplexity(found[0]["codes"], target.clusters), mean_run(codes), file)


def key_of(target: Target, speech: Speech, seed: int, model: Upstream | None) -> str:
    """Return the name of a codebook's file: a digest of all that its codes depend on."""
    content = {
        "target": target.model_dump(mode="json", exclude={"model"}),
        "speech": [(stream.digest, stream.weight) for stream in speech.streams],
        "seed": seed,
        "model": None if model is None else model.fingerprint,
        "versions": [TARGETS_VERSION, FEATURES_VERSION],
    }
    return f"{target.called}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]}"


def rows_of(target: Target, model: Upstream | None) -> Callable[[Stream], Iterator[Tensor]]:
    """Return the function from a stream to the rows that are clustered: parts of it in order, (t, dim) each."""
    if target.layer is None:
        return lambda stream: iter([features(target.features, stream)])
    assert model is not None  # the flow loads it
    if target.layer >= model.num_layers:
        raise UserError(
            f"The target {target.called} is made of layer {target.layer}, and {model.name} has layers 0 to "
            f"{model.num_layers - 1}. Correct `layer` in the recipe."
        )
    if (model.stride, model.shortest) != (HOP, WINDOW):
        raise UserError(
            f"{model.name} has frames of {model.shortest} samples, {model.stride} apart; targets need frames of "
            f"{WINDOW} samples, {HOP} apart. Take another `model`."
        )
    return partial(states_of, model=model, layer=target.layer)


def states_of(stream: Stream, model: Upstream, layer: int) -> Iterator[Tensor]:
    """Yield the hidden states of one layer of a stream, (t, D), encoded in pieces of 20 s."""
    for first in range(0, stream.frames, PIECE):
        frames = min(PIECE, stream.frames - first)
        states = model([stream.window(first, frames * HOP + WINDOW - HOP).to(model.device)])
        yield states.layers[layer, 0].float().cpu()


def fitted_centres(target: Target, speech: Speech, seed: int, rows: Callable[[Stream], Iterator[Tensor]]) -> Tensor:
    """Return the centres of k-means over frames that are drawn as training draws them, (K, dim) float32.

    Of every stream the first part is enough: one piece of 20 s for the layers of a model, which take longest.
    """
    from sklearn.cluster import MiniBatchKMeans  # takes a while, and is needed where targets are made

    random = np.random.default_rng(seed)
    share = speech.draws()
    wanted = np.ceil(FITTED * share / share.sum()).astype(int)
    drawn = []
    for stream, count in zip(speech.learned, wanted, strict=True):
        part = next(rows(stream))
        places = random.choice(len(part), min(count, len(part)), replace=False)
        drawn.append(part[torch.from_numpy(np.sort(places))])
    sample = torch.cat(drawn).numpy()
    if len(sample) < target.clusters:
        raise UserError(
            f"The target {target.called} has more clusters than there are frames to learn them from, {len(sample):,}. "
            "Take fewer clusters, or more speech."
        )
    means = MiniBatchKMeans(target.clusters, batch_size=BATCH, n_init=BEGINNINGS, random_state=seed, max_iter=100)
    centres = torch.from_numpy(means.fit(sample).cluster_centers_).float()
    logger.info("target %s: %d frames clustered, inertia %.4g", target.called, len(sample), means.inertia_)
    return centres


def nearest_centres(rows: Tensor, centres: Tensor) -> Tensor:
    """Return the number of the nearest centre of every row, (T,) int16."""
    norms = centres.square().sum(dim=1)
    return torch.cat([(norms - 2 * some @ centres.T).argmin(dim=1) for some in torch.split(rows, ROWS)]).to(torch.int16)


def perplexity(codes: Tensor, clusters: int) -> float:
    """Return exp of the entropy of codes: how many are in use, if all were equally frequent."""
    shares = torch.bincount(codes.flatten().long(), minlength=clusters).double() / codes.numel()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def mean_run(codes: Sequence[Tensor]) -> float:
    """Return the mean length of runs of equal codes, in frames."""
    runs = sum(1 + int((one[1:] != one[:-1]).sum()) for one in codes)
    return sum(len(one) for one in codes) / runs
