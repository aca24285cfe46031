"""Reading stored frames against computing them again.

For each codec, frames of the encoder's shape are written to a store as extraction writes them, and read as heads read
them: batches of random utterances through `StoredFrames`, from a warm page cache. The frames are random numbers, since
neither way depends on their values. Beside it stands the rate at which the encoder, untrained, computes eight
utterances of five seconds at a time, on the CPU and, where there is one, on the GPU.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import upstream
from downstream.states.sources import StoredFrames
from upstream.base import Upstream
from upstream.encode import Item
from upstream.extract import ShardWriter, plan
from upstream.store import CODECS, StateStore, StoreKey, estimate_bytes

from . import common
from .s3prl_loop import synchronize

SMALL = {"upstream": "wavlm_nano", "gigabytes": 0.02, "repeats": 1}
BATCH = 16  # utterances that are read together
COMPUTED, COMPUTED_SECONDS = 8, 5.0  # utterances that are computed together, and how long each lasts
MEAN_SECONDS = 3600 * common.HOURS / sum(common.SESSIONS)


@dataclass(frozen=True)
class Reading:
    """What was measured of one codec: bytes in the store, seconds of audio, of writing and of reading them."""

    codec: str
    nbytes: int
    audio: float
    writing: float
    reading: float


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--upstream", default="wavlm_base", help="a name of --list; its weights are drawn from seed 0")
    made.add_argument("--gigabytes", type=float, default=1.0, help="that each codec's store takes")
    made.add_argument("--codecs", nargs="+", default=CODECS, choices=CODECS, help="which to measure")
    made.add_argument("--repeats", type=int, default=3, help="readings, and computations; medians are shown")
    options = common.parse(made, SMALL)

    encoder = upstream.load(options.upstream, random_init=True, seed=0)
    readings = [measure(codec, encoder, options) for codec in options.codecs]
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    computed = [
        (f"{dtype}, {device}", computing_rate(options.upstream, device, dtype, options.repeats))
        for device, dtype in itertools.product(devices, ("float32", "bfloat16"))
    ]
    rows = [
        [
            one.codec,
            f"{one.nbytes / 1e9:.2f}",
            f"{one.audio:,.0f}",
            f"{one.nbytes / one.writing / 1e6:,.0f}",
            f"{one.nbytes / one.reading / 1e6:,.0f}",
            f"{one.audio / one.reading:,.0f}",
            *(f"{one.audio / one.reading / rate:.1f}" for _, rate in computed),
        ]
        for one in readings
    ]
    common.show(
        f"frames of {options.upstream}, {encoder.num_layers} x {encoder.dim}",
        (
            "codec",
            "GB",
            "s of audio",
            "write MB/s",
            "read MB/s",
            "read audio s/s",
            *(f"against\n{name}" for name, _ in computed),
        ),
        rows,
        [
            f"computing in {name}: {rate:,.1f} s of audio a second ({COMPUTED} x {COMPUTED_SECONDS:g} s at a time)"
            for name, rate in computed
        ]
        + [
            "Everything was measured. The frames are random numbers of the encoder's shape; MB/s are of bytes in the "
            f"store, read in batches of {BATCH} utterances from the page cache. Writing ends on the disk (fsync).",
        ],
        torch.device(devices[-1]),
    )


def measure(codec: str, encoder: Upstream, options: argparse.Namespace) -> Reading:
    """Write and read one codec's store."""
    common.say(f"{codec}: writing and reading")
    key = StoreKey.of(encoder, "frames", codec)
    items = as_many_as(options.gigabytes * 1e9, key, encoder.stride)
    with tempfile.TemporaryDirectory() as folder:
        store = StateStore(Path(folder), key, encoder.name)
        writing, _ = common.timed(lambda: write(store, encoder, items))
        nbytes = store.nbytes
        opened = StateStore(Path(folder), key)
        read(opened, items)  # the first reading maps the shards, and warms whatever is cold
        reading = common.median_seconds(lambda: read(opened, items), options.repeats)
    return Reading(codec, nbytes, sum(item.seconds for item in items), writing, reading)


def as_many_as(nbytes: float, key: StoreKey, stride: float) -> list[Item]:
    """Utterances as long as IEMOCAP's whose frames take about that many bytes."""
    of_a_second = estimate_bytes(key, stride, [60.0]) / 60
    count = max(BATCH, round(nbytes / of_a_second / MEAN_SECONDS))
    return common.noise_items(common.durations(count, count * MEAN_SECONDS))


def write(store: StateStore, encoder: Upstream, items: Sequence[Item]) -> None:
    """Random frames, in the batches and shards that extraction makes."""
    sizes = {item.digest: estimate_bytes(store.key, encoder.stride, [item.seconds]) for item in items}
    most = encoder.frames(max(item.seconds for item in items))
    pool = torch.randn(encoder.num_layers, most, encoder.dim, generator=torch.Generator().manual_seed(4))
    with ShardWriter(store, sizes) as writer:
        for batch in plan(items, sizes):
            writer.add(batch, [pool[:, : encoder.frames(item.seconds)] for item in batch])


def read(store: StateStore, items: Sequence[Item]) -> None:
    """All utterances once, in random order, as a head's batches."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(5))
    for _ in StoredFrames(store, items).batches(torch.split(order, BATCH)):
        pass


def computing_rate(name: str, device: str, dtype: str, repeats: int) -> float:
    """Seconds of audio that the encoder computes a second."""
    common.say(f"computing in {dtype} on {device}")
    encoder = upstream.load(name, device=device, dtype=dtype, random_init=True, seed=0)
    waveforms = [item.audio.load() for item in common.noise_items([COMPUTED_SECONDS] * COMPUTED)]

    def compute() -> None:
        encoder(waveforms)
        synchronize(encoder.device)

    compute()  # warm-up
    return COMPUTED * COMPUTED_SECONDS / common.median_seconds(compute, repeats)


if __name__ == "__main__":
    common.carry_out(main)
