"""A cache that cannot lie: keyed by what it was made from, whole or absent, begun again without repeating."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import upstream
from upstream import extract
from upstream.base import Upstream
from upstream.errors import MendableError
from upstream.extract import Item, fill, plan
from upstream.store import MeanStore, StoreKey


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


ITEMS = [Noise(seed, 3_000 + 577 * seed).item() for seed in range(12)]
DIGESTS = [item.digest for item in ITEMS]


@pytest.fixture(scope="module")
def model() -> Upstream:
    return upstream.load("wavlm_tiny", random_init=True)


class Counting:
    """An upstream that counts its calls and may fail at one of them."""

    def __init__(self, model: Upstream, fail_at: int | None = None) -> None:
        self.model, self.name, self.fail_at, self.calls = model, model.name, fail_at, 0

    def __call__(self, waveforms: list[Tensor]) -> object:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return self.model(waveforms)


def opened(tmp_path: Path, model: Upstream) -> MeanStore:
    return MeanStore(tmp_path, StoreKey.of(model))


def filled(tmp_path: Path, model: Upstream) -> MeanStore:
    store = opened(tmp_path, model)
    fill(store, model, ITEMS, progress=False)
    return store


def test_the_store_holds_what_the_upstream_says(model: Upstream, tmp_path: Path) -> None:
    stored = filled(tmp_path, model).get(DIGESTS)
    assert stored.shape == (model.num_layers, len(ITEMS), model.dim)
    for index, item in enumerate(ITEMS):
        alone = model([item.audio.load()]).means()[0]
        assert torch.allclose(stored[:, index], alone, rtol=1e-4, atol=1e-5)


def test_nothing_is_computed_twice(model: Upstream, tmp_path: Path) -> None:
    assert fill(opened(tmp_path, model), model, ITEMS, progress=False) == pytest.approx(sum(i.seconds for i in ITEMS))
    counting = Counting(model)
    assert fill(opened(tmp_path, model), counting, ITEMS, progress=False) == 0.0
    assert counting.calls == 0


def test_an_interrupted_pass_goes_on_and_ends_in_the_same_bits(
    model: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "BATCH_SECONDS", 1.5)
    monkeypatch.setattr(extract, "SHARD_UTTERANCES", 3)
    unbroken = filled(tmp_path / "unbroken", model).get(DIGESTS)
    batches = len(plan(ITEMS))
    assert batches > 3
    with pytest.raises(KeyboardInterrupt):
        fill(opened(tmp_path / "broken", model), Counting(model, fail_at=3), ITEMS, progress=False)
    resumed = opened(tmp_path / "broken", model)
    counting = Counting(model)
    fill(resumed, counting, ITEMS, progress=False)
    assert counting.calls == batches - 2
    assert torch.equal(resumed.get(DIGESTS), unbroken)
    assert torch.equal(opened(tmp_path / "broken", model).get(DIGESTS), unbroken)


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


@pytest.mark.parametrize("damage", ["torn", "altered", "empty"])
def test_a_damaged_shard_is_found_named_and_made_again(damage: str, model: Upstream, tmp_path: Path) -> None:
    good = filled(tmp_path, model)
    shard = next(good.folder.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes({"torn": bytes(content[: len(content) // 2]), "altered": bytes(content), "empty": b""}[damage])
    again = opened(tmp_path, model)
    assert again.damaged == [shard.name]
    assert not any(digest in again for digest in DIGESTS)
    fill(again, model, ITEMS, progress=False)
    assert torch.equal(again.get(DIGESTS), good.get(DIGESTS))


def test_batches_are_small_enough_once_they_are_padded() -> None:
    """One long utterance among many short ones would be padded to its length a hundred times."""
    items = [Item("long", ITEMS[0].audio, "long", 50.0)]
    items += [Item(f"short {i}", ITEMS[0].audio, f"short {i}", 0.1) for i in range(100)]
    batches = plan(items)
    assert all(len(batch) * batch[0].seconds <= extract.BATCH_SECONDS for batch in batches)
    assert len(batches) == 2


def test_an_interruption_at_any_moment_leaves_a_store_that_opens(
    model: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interruption strikes right after a batch came back from the upstream."""

    def struck(*arguments: object) -> Tensor:
        real_encode(*arguments)
        raise KeyboardInterrupt

    real_encode = extract.encode
    monkeypatch.setattr(extract, "BATCH_SECONDS", 1.5)
    with monkeypatch.context() as patch:
        patch.setattr(extract, "encode", struck)
        with pytest.raises(KeyboardInterrupt):
            fill(opened(tmp_path, model), model, ITEMS, progress=False)
    again = opened(tmp_path, model)
    assert again.damaged == []
    fill(again, model, ITEMS, progress=False)
    assert all(digest in again for digest in DIGESTS)


def test_what_is_wrong_with_an_utterance_is_said_with_its_name(model: Upstream, tmp_path: Path) -> None:
    class Loud(Noise):
        def load(self) -> Tensor:
            return super().load() * 1e6

    with pytest.raises(MendableError, match=r"noise 5 peaks at .* Divide 16-bit PCM by 32768"):
        fill(opened(tmp_path, model), model, [*ITEMS[:5], Loud(5, 3_000).item()], progress=False)


def test_the_same_states_are_the_same_shard(model: Upstream, tmp_path: Path) -> None:
    """Two processes that fill one store must end with one copy: a shard's name is the digest of its bytes."""
    first, second = (filled(tmp_path / name, model).folder for name in ("a", "b"))
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())


def test_a_foreign_shard_is_not_believed(model: Upstream, tmp_path: Path) -> None:
    """A shard of another upstream, copied into this store under its right digest."""
    other = upstream.load("wavlm_tiny", random_init=True, seed=1)
    foreign = next(filled(tmp_path / "other", other).folder.glob("*.safetensors"))
    own = opened(tmp_path / "own", model)
    (own.folder / foreign.name).write_bytes(foreign.read_bytes())
    again = opened(tmp_path / "own", model)
    assert again.damaged == [foreign.name]
    assert not any(digest in again for digest in DIGESTS)


def test_what_was_made_otherwise_is_another_store(model: Upstream) -> None:
    others = [
        upstream.load("wavlm_tiny", random_init=True, seed=1),
        upstream.load("wavlm_tiny", random_init=True, dtype="bfloat16"),
        upstream.load("fbank"),
        upstream.load("fbank_no_cmvn"),
    ]
    names = {StoreKey.of(other).folder_name() for other in [model, *others]}
    assert len(names) == 5
    assert StoreKey.of(upstream.load("wavlm_tiny", random_init=True)) == StoreKey.of(model)


def test_a_shard_without_header_is_set_aside(model: Upstream, tmp_path: Path) -> None:
    good = filled(tmp_path, model)
    shard = next(good.folder.glob("*.safetensors"))
    bare = tmp_path / "bare.safetensors"
    save_file({"means": load_file(shard)["means"]}, bare)
    name = hashlib.sha256(bare.read_bytes()).hexdigest()[:32]
    (good.folder / f"{name}.safetensors").write_bytes(bare.read_bytes())
    assert opened(tmp_path, model).damaged == [f"{name}.safetensors"]


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(
    model: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = opened(tmp_path, model)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(MendableError, match="No space left on device. Free some space"):
            fill(store, model, ITEMS, progress=False)
    assert list(store.folder.iterdir()) == []
    again = opened(tmp_path, model)
    assert fill(again, model, ITEMS, progress=False) > 0
    assert all(digest in again for digest in DIGESTS)


def test_an_unwritable_store_is_a_sentence(model: Upstream, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MendableError, match="--store"):
        opened(tmp_path / "file", model)
