"""The pass of a corpus through a frozen upstream, which fills the store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from upstream.base import Upstream, check_waveform
from upstream.errors import MendableError
from upstream.store import MeanStore

BATCH_SECONDS = 60.0  # of padded audio in one call of the upstream; its states are 120 MB for Base in float32
SHARD_UTTERANCES = 256  # utterances written at a time: what an interruption can cost


class Audio(Protocol):
    """An utterance's audio, as far as extraction is concerned."""

    def load(self) -> Tensor:
        """The waveform, (S,) float32 at 16 kHz in [-1, 1]."""


@dataclass(frozen=True)
class Item:
    """One utterance to be extracted; name: for messages; digest: of its audio; seconds: its duration."""

    name: str
    audio: Audio
    digest: str
    seconds: float


def fill(store: MeanStore, upstream: Upstream, items: Sequence[Item], progress: bool = True) -> float:
    """See that the store holds the means of all items; return the seconds of audio that had to be extracted.

    Batches are cut from the whole list, so that a run that was interrupted and begun again gives every
    utterance the same batch-mates, and with them the same bits. Decoding runs ahead of the model.
    """
    batches = [[item for item in batch if item.digest not in store] for batch in plan(items)]
    batches = [batch for batch in batches if batch]
    total = sum(item.seconds for batch in batches for item in batch)
    done: list[tuple[str, Tensor]] = []

    def write() -> None:
        if done:
            store.add([digest for digest, _ in done], torch.stack([means for _, means in done]))
            done.clear()

    bar = tqdm(
        total=math.ceil(total),
        desc=f"extracting {upstream.name}",
        disable=not progress or not batches,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio "
        "[{elapsed}<{remaining}, {rate_noinv_fmt}]",
        unit=" audio s",
    )
    try:
        for batch, waveforms in zip(batches, decode_ahead(batches), strict=True):
            done.extend(zip([item.digest for item in batch], encode(upstream, batch, waveforms), strict=True))
            bar.update(sum(item.seconds for item in batch))
            if len(done) >= SHARD_UTTERANCES:
                write()
    finally:
        write()  # an interruption loses no more than the batch it fell into
        bar.close()
    return total


def encode(upstream: Upstream, batch: Sequence[Item], waveforms: list[Tensor]) -> Tensor:
    """Means of a batch, (B, L, D) on the CPU; whatever is wrong with an utterance is said with its name."""
    try:
        means = upstream(waveforms).means().cpu()
    except MendableError:
        for item, waveform in zip(batch, waveforms, strict=True):
            check_waveform(waveform, item.name)
        for item, waveform in zip(batch, waveforms, strict=True):
            refuse_alone(upstream, item, waveform)
        raise
    for item, mean in zip(batch, means, strict=True):
        if not bool(torch.isfinite(mean).all()):
            raise MendableError(
                f"{upstream.name} gives NaN or infinite states for {item.name}; mend the model or its precision "
                "(--dtype), or leave the utterance out."
            )
    return means


def refuse_alone(upstream: Upstream, item: Item, waveform: Tensor) -> None:
    """Raise what the upstream has against this utterance, if anything, with its name."""
    try:
        upstream([waveform])
    except MendableError as error:
        raise MendableError(f"{item.name}: {error}") from error


def plan(items: Sequence[Item]) -> list[list[Item]]:
    """Batches of at most BATCH_SECONDS once they are padded, longest utterances first; equal audio once."""
    distinct = {item.digest: item for item in items}
    batches: list[list[Item]] = []
    for item in sorted(distinct.values(), key=lambda item: (-item.seconds, item.digest)):
        if not batches or (len(batches[-1]) + 1) * batches[-1][0].seconds > BATCH_SECONDS:
            batches.append([])
        batches[-1].append(item)
    return batches


def decode_ahead(batches: Sequence[Sequence[Item]]) -> Iterator[list[Tensor]]:
    """The waveforms of each batch, decoded in the background while the batch before is computed."""

    def load(batch: Sequence[Item]) -> list[Tensor]:
        return [item.audio.load() for item in batch]

    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = [pool.submit(load, batch) for batch in batches[:2]]
        for index in range(len(batches)):
            if index + 2 < len(batches):
                pending.append(pool.submit(load, batches[index + 2]))
            yield pending.pop(0).result()
