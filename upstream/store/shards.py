"""The file format of a shard, which holds the states of some utterances.

A shard is a safetensors file, named by the digest of its bytes. Its tensor "states" is 1-D: the utterances one after
another, each (L, T, D) flattened, so that an utterance, or a layer of it, is one contiguous read; means are utterances
of one frame, statistics of two: means, then deviations. The int8 codec adds "scales", 1-D: (L, 2, D) of each utterance.
The metadata have one entry, "header": JSON with the store's key, the utterances' digests and their numbers of frames.
It is a single entry because safetensors writes several in an order that varies between processes, and equal states must
give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from upstream.base import SAMPLE_RATE, Upstream, frames_of
from upstream.errors import UserError
from upstream.files import is_read_only, named_in_utf8
from upstream.json_file import parse_json
from upstream.store.codecs import BY_NAME, Codec
from upstream.store.key import StoreKey

SUFFIX = ".safetensors"
HASHING_THREADS = 2  # hashlib releases the interpreter lock; more threads do not read one disk faster
PROGRESS_DELAY = 1.0  # seconds before a progress bar appears

# Header bytes of an utterance: its digest, escaped quotes (JSON within JSON), commas, its frames.
HEADER_BYTES = 64 + 6 + 5


class DamagedShardError(Exception):
    """A file that is torn, altered, of another store, or not a shard."""


@dataclass(frozen=True)
class ShardIndex:
    """The header of a shard.

    name: of the file. nbytes: its size.
    digests: of each utterance's audio. frames: of each utterance, one for means and two for statistics.
    """

    name: str
    nbytes: int
    digests: tuple[str, ...]
    frames: tuple[int, ...]


@dataclass(frozen=True)
class OpenShard:
    """A memory-mapped shard: states and scales, 1-D, loaded as they are read."""

    states: Tensor
    scales: Tensor


def digest_of(content: bytes) -> str:
    """Return the file name, without suffix, of a shard with these bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


def write_shard(key: StoreKey, digests: Sequence[str], states: Sequence[Tensor]) -> tuple[ShardIndex, bytes]:
    """Return the index and the bytes of a shard of these utterances, (L, T, D) each.

    Raises UserError for states out of the codec's range.
    """
    codec = BY_NAME[key.codec]
    frames = tuple(state.shape[1] for state in states)
    per_frame = key.num_layers * key.dim
    tensors = {"states": torch.empty(sum(frames) * per_frame, dtype=codec.dtype)}
    if codec.scales:
        tensors["scales"] = torch.empty(len(frames) * codec.scales * per_frame)
    shard = OpenShard(tensors["states"], tensors.get("scales", torch.empty(0)))
    start = 0
    for position, state in enumerate(states):
        shape = (key.num_layers, state.shape[1], key.dim)
        assert state.shape == shape, f"{tuple(state.shape)} for {shape}"
        codec.encode(state, *views(shard, key, codec, start, state.shape[1], position))
        start += state.shape[1]
    header = {"key": asdict(key), "utterances": list(digests), "frames": frames}
    content = save(tensors, metadata={"header": json.dumps(header, sort_keys=True)})
    return ShardIndex(digest_of(content) + SUFFIX, len(content), tuple(digests), frames), content


def read_index(path: Path, key: StoreKey) -> ShardIndex:
    """Read the header of a shard, without its states.

    Raises DamagedShardError for a file that is not a shard of this key, or whose size differs from its header; and
    FileNotFoundError.
    """
    codec = BY_NAME[key.codec]
    try:
        if not S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise DamagedShardError(f"{path.name} is not a file")
        with named_in_utf8(path) as name, safe_open(name, framework="pt") as file:
            header: Any = parse_json((file.metadata() or {})["header"], path.name)
            sizes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # no mapping
            types = {name: file.get_slice(name).get_dtype() for name in sizes}
        digests, frames = tuple(header["utterances"]), tuple(header["frames"])
        is_of_key = header["key"] == asdict(key)
    except FileNotFoundError as error:
        if path.exists():  # safetensors says so of a file that this user may not read
            raise DamagedShardError(f"{path.name} cannot be read") from error
        raise
    except (SafetensorError, OSError, UserError, KeyError, TypeError) as error:
        raise DamagedShardError(f"{path.name} is not a shard: {error}") from error
    if not (all(isinstance(d, str) for d in digests) and all(type(count) is int and count > 0 for count in frames)):
        raise DamagedShardError(f"{path.name} is not a shard: its header lists no utterances")
    per_frame = key.num_layers * key.dim
    expected = {"states": [sum(frames) * per_frame]}
    if codec.scales:
        expected["scales"] = [len(frames) * codec.scales * per_frame]
    counts_match = 0 < len(digests) == len(frames)
    if not (is_of_key and counts_match and sizes == expected and types == stored_types(codec)):
        raise DamagedShardError(f"{path.name} is a shard of another store, or its header was altered")
    return ShardIndex(path.name, path.stat().st_size, digests, frames)


def stored_types(codec: Codec) -> dict[str, str]:
    """Return the dtypes of a shard's tensors under safetensors' names."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8"}
    return {"states": names[codec.dtype]} | ({"scales": "F32"} if codec.scales else {})


def open_shard(path: Path) -> OpenShard:
    """Memory-map a shard whose index was read before. Raises FileNotFoundError and SafetensorError."""
    with named_in_utf8(path) as name, safe_open(name, framework="pt") as file:
        states = file.get_tensor("states")  # the tensors keep the mapping after the file is closed
        scales = file.get_tensor("scales") if "scales" in file.keys() else torch.empty(0)  # noqa: SIM118
    return OpenShard(states, scales)


def views(
    shard: OpenShard, key: StoreKey, codec: Codec, start: int, frames: int, position: int, layers: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """Return views of codes (L', T, D) and scales (L', `codec.scales`, D) of one utterance and some of its layers.

    position: index of the utterance in the shard. start: frames before it. frames: T.
    """
    per_frame = key.num_layers * key.dim
    codes = shard.states[start * per_frame : (start + frames) * per_frame]
    size = codec.scales * per_frame
    scales = shard.scales[position * size : (position + 1) * size]
    return (
        codes.view(key.num_layers, frames, key.dim)[layers],
        scales.view(key.num_layers, codec.scales, key.dim)[layers],
    )


def discard(path: Path) -> str:
    """Remove a damaged shard; return why it stays where that is not possible, or nothing.

    One that cannot be read stays, since it may be sound.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        return ""
    except PermissionError:
        return "you may not read it"
    except OSError as error:  # too many open files, a disk that fails: it may be sound
        return str(error.strerror)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return "this folder is read-only" if is_read_only(error) else str(error.strerror)
    return ""


def is_intact(path: Path) -> bool:
    """Return True if the bytes of a shard match the digest in its name; True also where it no longer exists."""
    try:
        if not S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return True
    except OSError:  # permissions, a disk that fails
        return False
    return digest[:32] == path.stem


def bytes_of(path: Path) -> int:
    """Return the size of a file; 0 where it cannot be found out."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def altered_shards(paths: Sequence[Path], progress: bool = False) -> Iterator[Path]:
    """Yield the shards that cannot be read or whose bytes do not match the digest in their names.

    Reads every byte, in two threads. Shards that no longer exist are skipped.
    """
    sizes = [bytes_of(path) for path in paths]
    pool = ThreadPoolExecutor(HASHING_THREADS)
    bar = tqdm(
        total=sum(sizes),
        desc="checking stored states",
        unit="B",
        unit_scale=True,
        delay=PROGRESS_DELAY,
        leave=False,
        disable=not progress,
    )
    try:
        for path, size, intact in zip(paths, sizes, pool.map(is_intact, paths), strict=True):
            bar.update(size)
            if not intact:
                yield path
    finally:
        pool.shutdown(cancel_futures=True)  # on interruption do not wait for the remaining shards
        bar.close()


def estimate_bytes(key: StoreKey, stride: float, seconds: Sequence[float]) -> int:
    """Return the bytes on disk of utterances of these durations.

    stride: samples between two frames of the upstream. The first frame is assumed to span 25 ms, as for the
        filterbanks, WavLM, HuBERT and wav2vec 2.0.
    seconds: duration of each utterance.

    The fixed part of a shard's header, some hundred bytes, is left out.
    """
    codec = BY_NAME[key.codec]
    per_frame = key.num_layers * key.dim
    total = 0
    for duration in seconds:
        samples = round(duration * SAMPLE_RATE)
        frames = key.rows or frames_of(samples, Upstream.shortest, stride)
        total += per_frame * (frames * codec.dtype.itemsize + codec.scales * 4) + HEADER_BYTES
    return total
