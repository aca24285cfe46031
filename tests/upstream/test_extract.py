"""Extraction: no recomputation, the same bits after interruptions and with several ranks, errors as UserError.

Run as a script, this file is the worker process that some tests kill or run several of: see `work`.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from places import REPOSITORY
from torch import Tensor

import upstream
from upstream import extract
from upstream.base import HiddenStates, Upstream
from upstream.encode import BATCHES_AHEAD, Item, Memory, encode, waveforms_ahead
from upstream.errors import UserError
from upstream.extract import fill, plan
from upstream.ranks import ALONE, Ranks, current
from upstream.store import StateStore, StoreKey, estimate_bytes

PACE = 0.03  # seconds that a worker process waits before each batch, so that it can be killed in between
LEFT_OPEN = "the process group was left open"  # printed by a worker process that ends with an open group
PATIENCE = 60.0  # seconds that a worker process may take at most


@dataclass(frozen=True)
class Noise:
    """An utterance of seeded noise."""

    seed: int
    samples: int

    def load(self) -> Tensor:
        return torch.randn(self.samples, generator=torch.Generator().manual_seed(self.seed)) * 0.1

    def item(self) -> Item:
        digest = hashlib.sha256(repr(self).encode()).hexdigest()
        return Item(f"noise {self.seed}", self, digest, self.samples / 16_000)


# All lengths differ, so the length of a waveform identifies the utterance.
ITEMS = [Noise(seed, 3_000 + 377 * seed).item() for seed in range(36)]
DIGESTS = [item.digest for item in ITEMS]
BY_LENGTH = {len(item.audio.load()): item.digest for item in ITEMS}
SECONDS = sum(item.seconds for item in ITEMS)


class Watched(Upstream):
    """An upstream that records what it computes, and calls `before` with the lengths of each batch first."""

    def __init__(self, model: Upstream, before: Callable[[list[int]], None] | None = None) -> None:
        self.model, self.before = model, before
        self.name, self.fingerprint, self.provenance = model.name, model.fingerprint, model.provenance
        self.num_layers, self.dim, self.stride = model.num_layers, model.dim, model.stride
        self.batches: list[list[int]] = []

    def prepare(self, waveform: Tensor) -> Tensor:
        return self.model.prepare(waveform)

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        lengths = [len(waveform) for waveform in waveforms]
        self.batches.append(lengths)
        if self.before:
            self.before(lengths)
        return self.model.encode(waveforms)

    @property
    def computed(self) -> list[str]:
        """Digests of all computed utterances, with repetitions."""
        return [BY_LENGTH[length] for batch in self.batches for length in batch]


def tiny() -> Upstream:
    return upstream.load("wavlm_nano", random_init=True)


@pytest.fixture(scope="module")
def model() -> Upstream:
    return tiny()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bits are compared with those of other processes, and the order of sums depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cut_small(patch: pytest.MonkeyPatch) -> None:
    """Batches of 1.5 s and shards of 3 utterances, so that the items make many of both."""
    patch.setattr(extract, "BATCH_SECONDS", 1.5)
    patch.setattr(extract, "SHARD_UTTERANCES", 3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


@pytest.fixture(scope="module")
def unbroken(model: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """The means of all items from one uninterrupted extraction in one process, in small batches, (U, L, D)."""
    store = opened(tmp_path_factory.mktemp("unbroken"), model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        fill(store, model, ITEMS, progress=False)
    torch.set_num_threads(threads)
    return store.means(DIGESTS)


def opened(root: Path, model: Upstream, reduction: str = "means", codec: str | None = None) -> StateStore:
    return StateStore(root, StoreKey.of(model, reduction, codec))


def filled(root: Path, model: Upstream) -> StateStore:
    store = opened(root, model)
    fill(store, model, ITEMS, progress=False)
    return store


# ---------------------------------------------------------------- contents of the store


def test_stored_means_are_those_of_the_upstream(model: Upstream, tmp_path: Path) -> None:
    stored = filled(tmp_path, model).means(DIGESTS)
    assert stored.shape == (model.num_layers, len(ITEMS), model.dim)
    for row, item in zip(stored.unbind(dim=1), ITEMS, strict=True):
        assert torch.allclose(row, model([item.audio.load()]).means()[0], rtol=1e-4, atol=1e-5)


def test_stored_frames_are_those_of_each_utterance(model: Upstream, tmp_path: Path, small: None) -> None:
    store = opened(tmp_path, model, "frames", "float32")
    assert fill(store, model, ITEMS, progress=False) == pytest.approx(SECONDS)
    for item in ITEMS:
        alone = model([item.audio.load()]).utterance(0)
        assert torch.allclose(store.frames(item.digest), alone, rtol=1e-4, atol=1e-5)


def test_frames_keep_the_precision_of_the_upstream() -> None:
    half = upstream.load("wavlm_nano", random_init=True, dtype="bfloat16")
    waveforms = [item.audio.load() for item in ITEMS[:3]]
    for reduction, dtype, dims in (("frames", torch.bfloat16, 3), ("means", torch.float32, 2)):
        states = encode(half, ITEMS[:3], waveforms, reduction)
        assert [state.dtype for state in states] == [dtype] * 3
        assert [state.ndim for state in states] == [dims] * 3


def test_nothing_is_computed_twice(model: Upstream, tmp_path: Path) -> None:
    watched = Watched(model)
    twice = [*ITEMS, *ITEMS]  # the same audio under two names
    assert fill(opened(tmp_path, model), watched, twice, progress=False) == pytest.approx(SECONDS)
    assert len(plan(twice)) == len(watched.batches)
    assert sorted(watched.computed) == sorted(DIGESTS)
    again = Watched(model)
    assert fill(opened(tmp_path, model), again, ITEMS, progress=False) == 0.0
    assert again.batches == []


def test_the_same_states_are_the_same_shards(model: Upstream, tmp_path: Path, small: None) -> None:
    first, second = (filled(tmp_path / name, model).folder for name in ("a", "b"))
    names = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in (first, second)]
    assert names[0] == names[1]
    assert len(names[0]) > 3


def test_a_shard_that_was_altered_is_named_and_made_again(
    model: Upstream, tmp_path: Path, small: None, unbroken: Tensor
) -> None:
    shard = next(filled(tmp_path, model).folder.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    again, watched = opened(tmp_path, model), Watched(model)
    fill(again, watched, ITEMS, progress=False)
    assert again.damaged == [shard.name]
    assert 0 < len(watched.computed) <= extract.SHARD_UTTERANCES
    assert torch.equal(again.means(DIGESTS), unbroken)


# ---------------------------------------------------------------- batches and shards


def test_batches_are_full_longest_first_and_without_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "BATCH_SECONDS", 1.5)
    batches = plan([*ITEMS, *ITEMS])
    flat = [item for batch in batches for item in batch]
    assert sorted(item.digest for item in flat) == sorted(DIGESTS)
    assert [item.seconds for item in flat] == sorted((item.seconds for item in ITEMS), reverse=True)
    assert all(sum(item.seconds for item in batch) <= 1.5 for batch in batches)
    assert plan(ITEMS) == plan(ITEMS[::-1])


def test_an_utterance_longer_than_a_batch_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "BATCH_SECONDS", 0.1)
    assert all(len(batch) == 1 for batch in plan(ITEMS))


def test_batches_are_small_enough_once_they_are_padded() -> None:
    """One long utterance among many short ones would be padded to its length a hundred times."""
    items = [Item("long", ITEMS[0].audio, "long", 50.0)]
    items += [Item(f"short {i}", ITEMS[0].audio, f"short {i}", 0.1) for i in range(100)]
    batches = plan(items)
    assert all(len(batch) * batch[0].seconds <= extract.BATCH_SECONDS for batch in batches)
    assert len(batches) == 2


def test_no_batch_is_larger_than_a_shard(model: Upstream) -> None:
    """A kill never leaves half a batch, whose other half would be encoded in another batch."""
    large = StoreKey("", "float32", 25, 1024, "frames", "float16")
    items = [Item(str(i), ITEMS[0].audio, str(i), 10.0 if i < 20 else 0.1) for i in range(400)]
    sizes = {item.digest: estimate_bytes(large, 320, [item.seconds]) for item in items}
    batches = plan(items, sizes)
    assert all(extract.fits_shard(batch, sizes) for batch in batches)
    assert len(plan(items)) < len(batches)
    assert max(len(batch) for batch in batches) == extract.SHARD_UTTERANCES
    assert len(plan(items[:1], {"0": extract.SHARD_BYTES + 1})) == 1  # an utterance larger than a shard is one


def test_shards_are_as_large_as_they_may_be_and_no_larger(
    model: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "BATCH_SECONDS", 1.5)
    monkeypatch.setattr(extract, "SHARD_BYTES", 200_000)
    store = opened(tmp_path, model, "frames", "float16")
    fill(store, model, ITEMS, progress=False)
    sizes = [path.stat().st_size for path in store.folder.glob("*.safetensors")]
    assert all(size < 210_000 for size in sizes)  # with its head
    assert len(sizes) <= 2 * sum(sizes) / 200_000 + 1


# ---------------------------------------------------------------- interruptions


def test_an_interrupted_extraction_resumes_and_gives_the_same_bits(
    model: Upstream, tmp_path: Path, small: None, unbroken: Tensor
) -> None:
    def strike(_: list[int]) -> None:
        if len(interrupted.batches) == 4:
            raise KeyboardInterrupt

    interrupted = Watched(model, strike)
    with pytest.raises(KeyboardInterrupt):
        fill(opened(tmp_path, model), interrupted, ITEMS, progress=False)
    resumed = opened(tmp_path, model)
    assert len(resumed) == sum(len(batch) for batch in interrupted.batches[:3])  # all that was done is kept
    watched = Watched(model)
    fill(resumed, watched, ITEMS, progress=False)
    assert watched.batches[0] == interrupted.batches[3]
    assert sorted(watched.computed + interrupted.computed) == sorted(
        DIGESTS + [BY_LENGTH[length] for length in interrupted.batches[3]]
    )
    assert torch.equal(resumed.means(DIGESTS), unbroken)
    assert torch.equal(opened(tmp_path, model).means(DIGESTS), unbroken)


def test_an_interruption_right_after_a_batch_leaves_a_store_that_opens(
    model: Upstream, tmp_path: Path, small: None
) -> None:
    def struck(*arguments: object) -> list[Tensor]:
        encode(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "encode", struck)
        with pytest.raises(KeyboardInterrupt):
            fill(opened(tmp_path, model), model, ITEMS, progress=False)
    again = opened(tmp_path, model)
    assert again.damaged == []
    fill(again, model, ITEMS, progress=False)
    assert all(digest in again for digest in DIGESTS)


def test_a_killed_extraction_recomputes_no_written_shard(
    model: Upstream, tmp_path: Path, small: None, unbroken: Tensor
) -> None:
    """kill -9 three times: no finished shard is recomputed, and the bits are those without interruption."""
    moments = random.Random(0)
    root = tmp_path / "states"
    stored = [0]
    for fit in range(3):
        before = {digest for digest in DIGESTS if digest in opened(root, model)}
        log = tmp_path / f"log {fit}"
        with worker(root, log, halt_at=7) as process:
            wait_for(log, batches=moments.randint(5, 6), process=process)
            time.sleep(moments.uniform(0, 2 * PACE))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        store = opened(root, model)
        store.check(DIGESTS)
        assert store.damaged == []
        assert before.isdisjoint(logged(log, rank=0))
        stored.append(len(store))
    assert stored == sorted(stored)
    assert 0 < stored[-1] < len(ITEMS)  # the kills struck in the middle
    resumed = opened(root, model)
    kept = {digest for digest in DIGESTS if digest in resumed}
    watched = Watched(model)
    fill(resumed, watched, ITEMS, progress=False)
    assert sorted(watched.computed) == sorted(set(DIGESTS) - kept)
    assert torch.equal(opened(root, model).means(DIGESTS), unbroken)


# ---------------------------------------------------------------- several processes


def test_two_ranks_share_the_work_and_give_the_same_bits(
    model: Upstream, tmp_path: Path, small: None, unbroken: Tensor
) -> None:
    root, log = tmp_path / "states", tmp_path / "log"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    with worker(root, log, launcher) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert LEFT_OPEN not in errors
    assert "destroy_process_group" not in errors  # torch's warning
    shares = [logged(log, rank=0), logged(log, rank=1)]
    assert sorted(shares[0] + shares[1]) == sorted(DIGESTS)
    assert all(len(share) > len(DIGESTS) // 3 for share in shares)
    assert torch.equal(opened(root, model).means(DIGESTS), unbroken)


def test_two_independent_processes_fill_one_store(
    model: Upstream, tmp_path: Path, small: None, unbroken: Tensor
) -> None:
    root = tmp_path / "states"
    with worker(root, tmp_path / "a") as first, worker(root, tmp_path / "b") as second:
        for process in (first, second):
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors
    store = opened(root, model)
    store.check(DIGESTS)
    assert store.damaged == []
    assert torch.equal(store.means(DIGESTS), unbroken)


def test_batches_that_another_process_has_written_are_skipped(
    model: Upstream, tmp_path: Path, small: None, unbroken: Tensor
) -> None:
    def meanwhile(_: list[int]) -> None:
        if len(watched.batches) == 1:
            filled(tmp_path, model)

    watched = Watched(model, meanwhile)
    store = opened(tmp_path, model)
    fill(store, watched, ITEMS, progress=False)
    # When the second shard is passed on, the first is written, and the other process's shards are found.
    assert len(watched.computed) <= 3 * extract.SHARD_UTTERANCES < len(ITEMS)
    assert torch.equal(store.means(DIGESTS), unbroken)


@dataclass(frozen=True)
class IsolatedRank(Ranks):
    """A rank whose peers write to another store."""

    def barrier(self, device: torch.device) -> None:
        pass


def test_a_store_that_the_ranks_do_not_share_is_a_user_error(model: Upstream, tmp_path: Path, small: None) -> None:
    with pytest.raises(UserError, match=r"extracted, but the store .* a --store on a disk that all of them see"):
        fill(opened(tmp_path, model), model, ITEMS, progress=False, ranks=IsolatedRank(1, 2, 0))
    assert 0 < len(opened(tmp_path, model)) < len(ITEMS)


def test_the_rest_of_an_extraction_keeps_its_batches(
    model: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two ranks did its part; a process alone does the rest, in the batches of the whole pass."""
    monkeypatch.setattr(extract, "SHARD_BYTES", 40_000)  # else shorter utterances could be added to a batch
    whole, rest = Watched(model), Watched(model)
    fill(opened(tmp_path / "whole", model, "frames"), whole, ITEMS, progress=False)
    with pytest.raises(UserError):
        fill(opened(tmp_path / "parts", model, "frames"), model, ITEMS, progress=False, ranks=IsolatedRank(1, 2, 0))
    fill(opened(tmp_path / "parts", model, "frames"), rest, ITEMS, progress=False)
    assert rest.batches == whole.batches[0::2]


def test_a_single_process_does_not_wait() -> None:
    ALONE.claim_gpu()
    ALONE.barrier(torch.device("cuda"))
    assert not torch.distributed.is_initialized()


def test_more_ranks_than_gpus_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="--nproc-per-node 2 or less"):
        Ranks(2, 4, 2).claim_gpu()


# ---------------------------------------------------------------- memory


def gpu_runs_out() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def cpu_runs_out() -> None:
    torch.empty(2**60, dtype=torch.uint8)  # for the allocator's real message


def python_runs_out() -> None:
    raise MemoryError


def forgetful(model: Upstream, largest: int, run_out: Callable[[], None], failures: list[list[int]]) -> Watched:
    """An upstream that runs out of memory with more than `largest` padded samples, and notes when."""

    def before(lengths: list[int]) -> None:
        if len(lengths) * max(lengths) > largest:
            failures.append(lengths)
            run_out()

    return Watched(model, before)


@pytest.mark.parametrize("run_out", [gpu_runs_out, cpu_runs_out, python_runs_out])
def test_out_of_memory_halves_the_batches_once(
    run_out: Callable[[], None], model: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[list[int]] = []
    watched = forgetful(model, 50_000, run_out, failures)
    store = opened(tmp_path, model)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(extract, "BATCH_SECONDS", 6.0)
        batches = plan(ITEMS)
        fill(store, watched, ITEMS, progress=False)
    assert len(batches) > 1
    assert [len(lengths) for lengths in failures] == [len(batches[0])]  # later batches are not tried whole
    assert caplog.text.count("going on with smaller batches") == 1
    assert len(set(watched.computed)) == len(ITEMS)
    expected = filled(tmp_path / "roomy", model).means(DIGESTS)
    assert torch.allclose(store.means(DIGESTS), expected, rtol=1e-4, atol=1e-5)


def test_an_utterance_that_does_not_fit_alone_is_named(model: Upstream, tmp_path: Path, small: None) -> None:
    longest = ITEMS[-1]
    with pytest.raises(
        UserError, match=rf"{longest.name} lasts {longest.seconds:.1f} s.* memory of cpu; cut it .* --dtype"
    ):
        fill(opened(tmp_path, model), forgetful(model, 13_000, gpu_runs_out, []), ITEMS, progress=False)


def test_batches_are_halved_until_they_fit_and_the_limit_is_kept(model: Upstream) -> None:
    waveforms = [item.audio.load() for item in ITEMS]
    failures: list[list[int]] = []
    memory = Memory()
    watched = forgetful(model, 30_000, gpu_runs_out, failures)
    states = encode(watched, ITEMS, waveforms, "frames", memory)
    assert len(failures) > 1
    assert memory.samples <= 30_000
    for state, waveform in zip(states, waveforms, strict=True):
        assert torch.allclose(state, model([waveform]).utterance(0), rtol=1e-4, atol=1e-5)
    remembered = len(failures)
    encode(watched, ITEMS, waveforms, "means", memory)
    assert len(failures) == remembered


def test_other_errors_of_the_upstream_are_not_treated_as_out_of_memory(model: Upstream, tmp_path: Path) -> None:
    def broken(_: list[int]) -> None:
        raise RuntimeError("shapes do not match")

    watched = Watched(model, broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fill(opened(tmp_path, model), watched, ITEMS, progress=False)
    assert len(watched.batches) == 1


# ---------------------------------------------------------------- utterances that cannot be encoded


@dataclass(frozen=True)
class Loud(Noise):
    """Integer PCM without scaling."""

    def load(self) -> Tensor:
        return super().load() * 1e6


@dataclass(frozen=True)
class Unreadable(Noise):
    """A recording that cannot be decoded."""

    def load(self) -> Tensor:
        raise UserError(f"/corpus/{self.seed}.wav is not audio that soundfile can decode.")


def test_errors_name_the_utterance(model: Upstream, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"noise 5 peaks at .* Divide 16-bit PCM by 32768"):
        fill(opened(tmp_path, model), model, [*ITEMS[:5], Loud(5, 3_000).item()], progress=False)


@pytest.mark.parametrize("reduction", ["means", "frames"])
def test_states_that_are_not_finite_name_the_utterance(reduction: str, model: Upstream) -> None:
    class Breaking(Watched):
        def encode(self, waveforms: list[Tensor]) -> HiddenStates:
            states = super().encode(waveforms)
            states.layers[1, 2, 0, 3] = float("inf")
            return states

    waveforms = [item.audio.load() for item in ITEMS[:4]]
    with pytest.raises(UserError, match="NaN or infinite states for noise 2; .*--dtype"):
        encode(Breaking(model), ITEMS[:4], waveforms, reduction)


def test_an_upstreams_user_error_names_the_utterance(model: Upstream) -> None:
    def too_long(lengths: list[int]) -> None:
        if max(lengths) == len(waveforms[2]):
            raise UserError("An utterance does not fit the window.")

    waveforms = [item.audio.load() for item in ITEMS[:3]]
    with pytest.raises(UserError, match="noise 2: An utterance does not fit the window"):
        encode(Watched(model, too_long), ITEMS[:3], waveforms, "means")


def test_decoding_errors_are_raised_and_earlier_states_are_kept(model: Upstream, tmp_path: Path, small: None) -> None:
    shortest = Unreadable(77, 1_000).item()  # comes last
    watched = Watched(model)
    with pytest.raises(UserError, match="/corpus/77.wav is not audio"):
        fill(opened(tmp_path, model), watched, [*ITEMS, shortest], progress=False)
    assert len(ITEMS) - extract.SHARD_UTTERANCES < len(watched.computed) < len(ITEMS) + 1
    assert len(opened(tmp_path, model)) == len(watched.computed)


# ---------------------------------------------------------------- decoding ahead


def test_decoding_ahead_is_bounded_and_in_order() -> None:
    asked = 0

    def batches() -> Iterator[list[Item]]:
        nonlocal asked
        for asked in range(1, 7):
            yield ITEMS[3 * asked - 3 : 3 * asked]

    for index, waveforms in enumerate(waveforms_ahead(batches(), workers=3)):
        assert asked <= index + 1 + BATCHES_AHEAD
        expected = [item.audio.load() for item in ITEMS[3 * index : 3 * index + 3]]
        assert all(torch.equal(a, b) for a, b in zip(waveforms, expected, strict=True))
    assert asked == index + 1 == 6


def test_a_batch_is_spread_over_the_workers() -> None:
    """Three utterances of one batch meet at a barrier, which one thread alone could never pass."""
    meeting = threading.Barrier(3, timeout=5.0)

    @dataclass(frozen=True)
    class Meeting(Noise):
        def load(self) -> Tensor:
            meeting.wait()
            return super().load()

    batch = [Meeting(seed, 400).item() for seed in range(3)]
    assert [len(waveform) for waveform in next(waveforms_ahead([batch], workers=3))] == [400] * 3


# ---------------------------------------------------------------- writing behind


def test_encoding_continues_while_a_shard_is_written_within_a_bound(
    model: Upstream, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances: list[int] = []
    writers: set[str] = set()
    real_add = StateStore.add

    def slow(store: StateStore, digests: list[str], states: list[Tensor]) -> None:
        writers.add(threading.current_thread().name)
        time.sleep(0.05)
        real_add(store, digests, states)
        distances.append(len(watched.computed) - len(store))

    monkeypatch.setattr(StateStore, "add", slow)
    watched = Watched(model)
    store = opened(tmp_path, model)
    fill(store, watched, ITEMS, progress=False)
    assert max(distances) > 0  # computed while writing
    assert max(distances) <= 2 * extract.SHARD_UTTERANCES  # one shard gathered, and the batch that closes it
    assert threading.current_thread().name not in writers
    assert all(digest in store for digest in DIGESTS)


def test_a_full_disk_is_a_user_error_and_leaves_no_partial_file(
    model: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = opened(tmp_path, model)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device. Free some space"):
            fill(store, model, ITEMS, progress=False)
    assert [path.name for path in store.folder.iterdir()] == ["store.json"]
    again = opened(tmp_path, model)
    assert fill(again, model, ITEMS, progress=False) == pytest.approx(SECONDS)
    assert all(digest in again for digest in DIGESTS)


def test_a_shard_that_cannot_be_written_stops_extraction_and_others_are_kept(
    model: Upstream, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    real_add = StateStore.add

    def failing(store: StateStore, digests: list[str], states: list[Tensor]) -> None:
        writes.append(len(digests))
        if len(writes) == 2:
            raise UserError("Cannot write: no space.")
        real_add(store, digests, states)

    monkeypatch.setattr(StateStore, "add", failing)
    watched = Watched(model)
    with pytest.raises(UserError, match="Cannot write: no space"):
        fill(opened(tmp_path, model), watched, ITEMS, progress=False)
    assert len(watched.computed) < len(ITEMS)
    assert len(opened(tmp_path, model)) == len(watched.computed) - writes[1] > 0


@pytest.mark.parametrize("how", ["to its end", "interrupted", "undecodable", "full disk"])
def test_no_thread_is_left_running(
    how: str, model: Upstream, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(_: list[int]) -> None:
        if how == "interrupted":
            raise KeyboardInterrupt

    def full(*_: object) -> None:
        raise UserError("no space")

    before = set(threading.enumerate())
    items = [*ITEMS, Unreadable(77, 9_000).item()] if how == "undecodable" else ITEMS
    if how == "full disk":
        monkeypatch.setattr(StateStore, "add", full)
    try:
        fill(opened(tmp_path, model), Watched(model, strike), items, progress=False)
        assert how == "to its end"
    except (KeyboardInterrupt, UserError):
        assert how != "to its end"
    assert set(threading.enumerate()) <= before


# ---------------------------------------------------------------- progress


def test_progress_counts_seconds_of_audio(
    model: Upstream, tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(opened(tmp_path, model), model, ITEMS)
    shown = capsys.readouterr().err
    assert "extracting wavlm_nano: 100%" in shown
    assert "audio s/s" in shown
    fill(opened(tmp_path, model), model, ITEMS)
    assert "extracting" not in capsys.readouterr().err


def test_only_the_main_rank_shows_progress(
    model: Upstream, tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path, model)
    for rank, shows in ((0, True), (1, False)):
        store = opened(tmp_path / str(rank), model)
        with pytest.raises(UserError):
            fill(store, model, ITEMS, ranks=IsolatedRank(rank, 2, 0))
        assert ("extracting" in capsys.readouterr().err) == shows


# ---------------------------------------------------------------- the worker process


def work(root: Path, log: Path, halt_at: int) -> None:
    """Fill the store at `root` with the items' means, slowly, and log every batch before it is computed.

    halt_at: the batch, counted from 1, at which to wait to be killed; 0 for none.
    """

    def complain() -> None:
        if torch.distributed.is_initialized():
            print(LEFT_OPEN, file=sys.stderr)

    atexit.register(complain)  # runs after what is registered later
    ranks = current()
    extract.BATCH_SECONDS, extract.SHARD_UTTERANCES = 1.5, 3
    model = tiny()

    def note(lengths: list[int]) -> None:
        with log_of(log, ranks.rank).open("a") as lines:
            lines.write(json.dumps(lengths) + "\n")
        time.sleep(PATIENCE if len(watched.batches) == halt_at else PACE)

    watched = Watched(model, note)
    fill(opened(root, model), watched, ITEMS, progress=False, ranks=ranks)


def log_of(log: Path, rank: int) -> Path:
    return log.with_name(f"{log.name} of rank {rank}")


def logged(log: Path, rank: int) -> list[str]:
    """Digests of what that rank computed."""
    lines = log_of(log, rank).read_text().splitlines()
    return [BY_LENGTH[length] for line in lines for length in json.loads(line)]


def worker(root: Path, log: Path, launcher: list[str] | None = None, halt_at: int = 0) -> subprocess.Popen[str]:
    """Start this file as a worker process."""
    command = [*(launcher or [sys.executable]), __file__, str(root), str(log), str(halt_at)]
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(log: Path, batches: int, process: subprocess.Popen[str]) -> None:
    """Wait until the worker has begun that many batches."""
    deadline = time.monotonic() + PATIENCE
    while not log_of(log, 0).exists() or len(log_of(log, 0).read_text().splitlines()) < batches:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the worker did not begin"
        time.sleep(0.002)


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))


def test_damage_that_another_process_found_first_is_repaired_too(model: Upstream, tmp_path: Path) -> None:
    """Both have opened the store; the other one checks first and removes the shard."""
    good = filled(tmp_path, model).means(DIGESTS)
    first, second = opened(tmp_path, model), opened(tmp_path, model)
    shard = next(first.folder.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    first.check(DIGESTS)
    assert first.damaged == [shard.name]
    fill(second, model, ITEMS, progress=False)
    assert torch.allclose(second.means(DIGESTS), good, rtol=1e-4, atol=1e-5)
