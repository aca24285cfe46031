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

from upstream.base import Upstream
from upstream.store import MeanStore

BATCH_SECONDS = 60.0  # of audio in one call of the upstream; its states are 120 MB for Base in float32
SHARD_UTTERANCES = 256  # utterances written at a time: what an interruption can cost


class Audio(Protocol):
    """An utterance's audio, as far as extraction is concerned."""

    def load(self) -> Tensor:
        """The waveform, (S,) float32 at 16 kHz in [-1, 1]."""


@dataclass(frozen=True)
class Item:
    """One utterance to be extracted; digest: of its audio; seconds: its duration."""

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
    digests: list[str] = []
    means: list[Tensor] = []

    def write() -> None:
        if digests:
            store.add(digests, torch.cat(means))
            digests.clear()
            means.clear()

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
            means.append(upstream(waveforms).means().cpu())
            digests.extend(item.digest for item in batch)
            bar.update(sum(item.seconds for item in batch))
            if len(digests) >= SHARD_UTTERANCES:
                write()
    finally:
        write()  # an interruption loses no more than the batch it fell into
        bar.close()
    return total


def plan(items: Sequence[Item]) -> list[list[Item]]:
    """Batches of at most BATCH_SECONDS of audio, longest utterances first; items of equal audio once."""
    distinct = {item.digest: item for item in items}
    batches: list[list[Item]] = []
    room = 0.0
    for item in sorted(distinct.values(), key=lambda item: (-item.seconds, item.digest)):
        if item.seconds > room:
            batches.append([])
            room = BATCH_SECONDS
        batches[-1].append(item)
        room -= item.seconds
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
