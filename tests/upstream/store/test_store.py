"""The store: keyed by everything the states depend on, shards complete or absent, codecs within their error."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import ANY

import pytest
import torch
from places import REPOSITORY
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

import upstream
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.store import CODECS, StateStore, StoreKey, estimate_bytes, store

LAYERS, DIM = 3, 32
LENGTHS = [17, 1, 40, 8, 25, 3]  # frames of the utterances


def digest(name: object) -> str:
    return hashlib.sha256(repr(name).encode()).hexdigest()


DIGESTS = [digest(index) for index in range(len(LENGTHS))]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FRAMES = [noise(LAYERS, length, DIM, seed=index) for index, length in enumerate(LENGTHS)]
MEANS = [noise(LAYERS, DIM, seed=index) for index in range(len(LENGTHS))]
STATES = {"frames": FRAMES, "means": MEANS}


def key_of(reduction: str = "frames", codec: str = "float32", fingerprint: str = "f" * 64) -> StoreKey:
    return StoreKey(fingerprint, "float32", LAYERS, DIM, reduction, codec)


def filled(root: Path, key: StoreKey, utterances_in_shard: int = 6) -> StateStore:
    opened = StateStore(root, key, "noise")
    for start in range(0, len(DIGESTS), utterances_in_shard):
        part = slice(start, start + utterances_in_shard)
        opened.add(DIGESTS[part], STATES[key.reduction][part])
    return opened


def shards(opened: StateStore) -> list[Path]:
    return sorted(opened.folder.glob("*.safetensors"))


def in_python(script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Another process that runs a script, which finds the packages of this repository."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What the process printed."""
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return output


# Codecs


@pytest.mark.parametrize("written", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("codec", ["float32", "float16", "bfloat16"])
def test_float_codecs_return_the_rounded_states(codec: str, written: torch.dtype, tmp_path: Path) -> None:
    key = key_of(codec=codec)
    states = [state.to(written) for state in FRAMES]
    StateStore(tmp_path, key).add(DIGESTS, states)
    again = StateStore(tmp_path, key)
    for name, state in zip(DIGESTS, states, strict=True):
        expected = state.to(getattr(torch, codec)).float()
        stored = again.frames(name)
        assert stored.dtype == torch.float32
        assert torch.equal(stored, expected)


@pytest.mark.parametrize("codec", CODECS)
def test_one_layer_is_that_layer_of_all(codec: str, tmp_path: Path) -> None:
    opened = filled(tmp_path, key_of(codec=codec))
    for name in DIGESTS:
        states = opened.frames(name)
        for layer in range(-LAYERS, LAYERS):
            assert torch.equal(opened.frames(name, layer), states[layer][None])
    with pytest.raises(IndexError):
        opened.frames(DIGESTS[0], LAYERS)


def test_the_error_of_int8_is_at_most_half_a_step(tmp_path: Path) -> None:
    """Also in channels far from zero and nearly constant, which one scale for the whole layer would flatten."""
    states = noise(LAYERS, 50, DIM)
    states[1, :, 3] += 4_000
    states[2, :, 5] = states[2, :, 5] * 1e-3 - 700
    opened = StateStore(tmp_path, key_of(codec="int8"))
    opened.add(["x"], [states])
    step = (states.amax(dim=1) - states.amin(dim=1)) / 254
    error = (StateStore(tmp_path, key_of(codec="int8")).frames("x") - states).abs()
    rounding = states.abs().amax(dim=1) * torch.finfo(torch.float32).eps
    assert bool((error <= step[:, None] / 2 * 1.0001 + rounding[:, None]).all())
    assert float(error[1, :, 3].max()) < 0.02


@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567, 3e38 / 2])
def test_int8_keeps_constant_channels_exactly(value: float, tmp_path: Path) -> None:
    states = noise(LAYERS, 9, DIM)
    states[0, :, 0] = value
    states[2] = value
    alone = torch.full((LAYERS, 1, DIM), value)  # a single frame changes nowhere
    opened = StateStore(tmp_path, key_of(codec="int8"))
    opened.add(["x", "y"], [states, alone])
    assert torch.equal(opened.frames("x")[0, :, 0], states[0, :, 0])
    assert torch.equal(opened.frames("x")[2], states[2])
    assert torch.equal(opened.frames("y"), alone)


@pytest.mark.parametrize("value", [70_000.0, -70_000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float16_refuses_states_that_would_become_infinite(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    states = [state.to(dtype) for state in FRAMES]
    states[2] = states[2].clone()
    states[2][1, 5, 7] = value
    opened = StateStore(tmp_path, key_of(codec="float16"))
    with pytest.raises(UserError, match="does not fit float16, .* bfloat16 or int8"):
        opened.add(DIGESTS, states)
    assert shards(opened) == []
    assert len(opened) == 0
    for codec in ("bfloat16", "int8"):
        other = StateStore(tmp_path, key_of(codec=codec))
        other.add(DIGESTS, states)
        assert float(other.frames(DIGESTS[2])[1, 5, 7]) == pytest.approx(value, rel=0.01)


def test_float16_holds_its_largest_number(tmp_path: Path) -> None:
    opened = StateStore(tmp_path, key_of(codec="float16"))
    opened.add(["x"], [torch.full((LAYERS, 2, DIM), 65_504.0)])
    assert torch.equal(opened.frames("x"), torch.full((LAYERS, 2, DIM), 65_504.0))


def test_an_unknown_codec_is_a_user_error() -> None:
    filterbank = upstream.load("fbank")
    with pytest.raises(UserError, match="no codec 'float8'.* float32, float16, bfloat16, int8"):
        StoreKey.of(filterbank, "frames", "float8")
    with pytest.raises(UserError, match="no reduction 'mean'.* means, statistics, frames"):
        StoreKey.of(filterbank, "mean")


def test_the_default_codec_is_float16_for_frames_and_float32_for_means() -> None:
    filterbank = upstream.load("fbank")
    assert StoreKey.of(filterbank).codec == "float32"
    assert StoreKey.of(filterbank, "means", "int8").codec == "float32"
    assert StoreKey.of(filterbank, "frames").codec == "float16"
    assert StoreKey.of(filterbank, "frames", "int8").codec == "int8"


# Means


def test_means_are_in_the_requested_order(tmp_path: Path) -> None:
    filled(tmp_path, key_of("means"), utterances_in_shard=2)
    again = StateStore(tmp_path, key_of("means"))
    order = [3, 0, 5, 5, 1]
    means = again.means([DIGESTS[index] for index in order])
    assert means.dtype == torch.float32
    assert torch.equal(means, torch.stack([MEANS[index] for index in order], dim=1))
    assert again.means([]).shape == (LAYERS, 0, DIM)
    with pytest.raises(KeyError):
        again.means([digest("unheard of")])


def test_means_of_any_precision_can_be_added(tmp_path: Path) -> None:
    opened = StateStore(tmp_path, key_of("means"))
    opened.add(DIGESTS, [mean.bfloat16() for mean in MEANS])
    assert torch.equal(opened.means(DIGESTS), torch.stack(MEANS, dim=1).bfloat16().float())


# Contents of a store


def test_the_store_lists_its_utterances(tmp_path: Path) -> None:
    opened = filled(tmp_path, key_of(), utterances_in_shard=2)
    for look in (opened, StateStore(tmp_path, key_of())):
        assert len(look) == len(DIGESTS)
        assert all(name in look for name in DIGESTS)
        assert digest("unheard of") not in look
        assert look.nbytes == sum(path.stat().st_size for path in shards(opened))
        assert look.damaged == []


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_states_are_the_same_shard(codec: str, tmp_path: Path) -> None:
    """Two processes that fill one store must end with one copy: a shard's name is the digest of its bytes."""
    script = (
        "import sys, torch; from pathlib import Path; from upstream.store import StateStore, StoreKey\n"
        "store = StateStore(Path(sys.argv[1]), StoreKey('f', 'float32', 3, 8, 'frames', sys.argv[2]))\n"
        "store.add(['a', 'b'], [torch.arange(3 * n * 8.0).view(3, n, 8).sin() for n in (5, 9)])\n"
        "print(*(path.name for path in store.folder.glob('*.safetensors')))"
    )
    processes = [in_python(script, tmp_path / seed, codec, PYTHONHASHSEED=seed) for seed in ("1", "2")]
    first, second = (finish(process) for process in processes)
    assert first == second
    assert first.strip().endswith(".safetensors")


def test_other_settings_are_another_store() -> None:
    model = upstream.load("wavlm_nano", random_init=True)
    others = [
        upstream.load("wavlm_nano", random_init=True, seed=1),
        upstream.load("wavlm_nano", random_init=True, dtype="bfloat16"),
        upstream.load("fbank"),
        upstream.load("fbank_no_cmvn"),
    ]
    keys = [StoreKey.of(other) for other in [model, *others]]
    keys += [StoreKey.of(model, "frames", codec) for codec in CODECS]
    keys.append(replace(keys[0], version=1))
    assert len({key.folder_name() for key in keys}) == len(keys)
    assert StoreKey.of(upstream.load("wavlm_nano", random_init=True)) == StoreKey.of(model)


def test_opening_marks_the_store_as_used(tmp_path: Path) -> None:
    card = StateStore(tmp_path, key_of(), "noise").folder / "store.json"
    written = card.read_text()
    assert '"upstream": "noise"' in written
    os.utime(card, (1_000_000, 1_000_000))
    StateStore(tmp_path, key_of(), "another name")
    assert card.stat().st_mtime > 1_000_000
    assert card.read_text() == written


# Durations to bytes


@pytest.fixture(scope="module")
def model() -> Upstream:
    return upstream.load("wavlm_nano", random_init=True)


@pytest.mark.parametrize("name", ["wavlm_nano", "fbank"])
@pytest.mark.parametrize("codec", [None, *CODECS])
def test_the_estimate_is_what_is_written(codec: str | None, name: str, model: Upstream, tmp_path: Path) -> None:
    encoder = model if name == "wavlm_nano" else upstream.load(name)
    samples = [16_000 + 1_237 * index for index in range(24)]
    digests = [digest(count) for count in samples]
    key = StoreKey.of(encoder, "frames" if codec else "means", codec)
    opened = StateStore(tmp_path, key)
    if codec:
        states = [encoder([noise(count) * 0.1]).utterance(0) for count in samples]
    else:
        states = [noise(encoder.num_layers, encoder.dim) for _ in samples]
    opened.add(digests, states)
    estimate = estimate_bytes(key, encoder.stride, [count / 16_000 for count in samples])
    assert estimate == pytest.approx(opened.nbytes, rel=0.02)


def test_an_utterance_shorter_than_a_frame_is_one_frame() -> None:
    key = key_of()
    assert estimate_bytes(key, 320, [0.001]) == estimate_bytes(key, 320, [0.025])
    assert estimate_bytes(key, 320, [0.045]) - estimate_bytes(key, 320, [0.025]) == LAYERS * DIM * 4


# Damage


@pytest.mark.parametrize("reduction", ["means", "frames"])
@pytest.mark.parametrize("damage", ["torn", "longer", "empty", "noise"])
def test_a_torn_shard_is_found_when_the_store_is_opened(damage: str, reduction: str, tmp_path: Path) -> None:
    good = filled(tmp_path, key_of(reduction), utterances_in_shard=3)
    shard = shards(good)[0]
    content = shard.read_bytes()
    damaged = {"torn": content[:-1], "longer": content + b"\0", "empty": b"", "noise": os.urandom(5_000)}
    shard.write_bytes(damaged[damage])
    again = StateStore(tmp_path, key_of(reduction))
    assert again.damaged == [shard.name]
    assert not shard.exists()
    assert len(again) == 3


@pytest.mark.parametrize("reduction", ["means", "frames"])
@pytest.mark.parametrize("damage", ["altered", "renamed"])
def test_an_altered_shard_is_found_when_it_is_checked_and_made_again(
    damage: str, reduction: str, tmp_path: Path
) -> None:
    key = key_of(reduction)
    good = filled(tmp_path, key, utterances_in_shard=3)
    shard, other = shards(good)
    if damage == "altered":
        content = bytearray(shard.read_bytes())
        content[-5] ^= 1
        shard.write_bytes(content)
    else:
        shard = shard.rename(shard.with_stem("0" * 32))
    again = StateStore(tmp_path, key)
    assert len(again) == len(DIGESTS)  # its head is sound
    again.check(DIGESTS)
    assert again.damaged == [shard.name]
    assert shards(again) == [other]
    missing = [index for index, name in enumerate(DIGESTS) if name not in again]
    assert len(missing) == 3
    again.add([DIGESTS[index] for index in missing], [STATES[reduction][index] for index in missing])
    last = StateStore(tmp_path, key)
    last.check(DIGESTS)
    assert last.damaged == []
    if reduction == "means":
        assert torch.equal(last.means(DIGESTS), torch.stack(MEANS, dim=1))
    else:
        assert all(torch.equal(last.frames(d), state) for d, state in zip(DIGESTS, FRAMES, strict=True))


@pytest.mark.parametrize("position", [*range(0, 1000, 37), -1])
def test_every_altered_byte_is_detected(position: int, tmp_path: Path) -> None:
    """Wherever it falls: length of the head, head, states."""
    good = filled(tmp_path, key_of(codec="int8"))
    (shard,) = shards(good)
    content = bytearray(shard.read_bytes())
    content[position] ^= 4
    shard.write_bytes(content)
    again = StateStore(tmp_path, key_of(codec="int8"))
    again.check(DIGESTS)
    assert again.damaged == [shard.name]
    assert len(again) == 0


def test_only_the_given_utterances_are_checked_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, key_of(), utterances_in_shard=2)
    read: list[int] = []

    def counting(paths: Sequence[Path], progress: bool = False) -> Iterator[Path]:
        read.append(len(paths))
        return real(paths, progress)

    real = store.altered_shards
    monkeypatch.setattr(store, "altered_shards", counting)
    again = StateStore(tmp_path, key_of())
    again.check(DIGESTS[:2])
    again.check(DIGESTS[:3])
    again.check(DIGESTS)
    again.check([digest("unheard of")])
    again.add([digest("new")], [FRAMES[0]])
    again.check([digest("new")])  # was hashed when it was written
    assert read == [1, 1, 1, 0, 0]


HEADERS = {
    "deep": '{"utterances": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "an endless number": '{"utterances": ["x"], "frames": [' + "9" * 5_000 + "]}",
    "infinity": '{"utterances": ["x"], "frames": [Infinity], "key": KEY}',
    "a fraction": '{"utterances": ["x"], "frames": [2.0], "key": KEY}',
    "a negative number": '{"utterances": ["x", "y"], "frames": [-2, 4], "key": KEY}',
    "true": '{"utterances": ["x"], "frames": [true], "key": KEY}',
    "names that are lists": '{"utterances": [["x"]], "frames": [2], "key": KEY}',
    "no list": '{"utterances": 5, "frames": [2], "key": KEY}',
    "an array": "[]",
    "nothing": "",
    "half a letter": '{"utterances": ["\\ud800"], "frames": [2], "key": KEY}',
}


def with_header(path: Path, header: str, key: StoreKey) -> None:
    """Write a shard of one utterance of two frames, named by its digest, with any header."""
    content = save(
        {"states": torch.zeros(2 * LAYERS * DIM)}, {"header": header.replace("KEY", json.dumps(asdict(key)))}
    )
    (path / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors").write_bytes(content)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_shard_with_a_foreign_header_is_passed_over(header: str, tmp_path: Path) -> None:
    good = filled(tmp_path, key_of())
    with_header(good.folder, header, good.key)
    again = StateStore(tmp_path, key_of())
    assert len(again.damaged) == 1
    assert len(again) == len(DIGESTS)
    assert len(shards(again)) == 1


@pytest.mark.parametrize("reduction", ["means", "frames"])
def test_a_store_below_a_name_that_is_no_utf8(reduction: str, tmp_path: Path) -> None:
    """safetensors opens no such path."""
    root = tmp_path / "caf\udce9"
    filled(root, key_of(reduction))
    again = StateStore(root, key_of(reduction))
    again.check(DIGESTS)
    assert again.damaged == []
    if reduction == "means":
        assert torch.equal(again.means(DIGESTS), torch.stack(MEANS, dim=1))
    else:
        assert all(torch.equal(again.frames(d), state) for d, state in zip(DIGESTS, FRAMES, strict=True))


def test_a_shard_that_cannot_be_opened_now_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process has too many open files, nothing is known of a shard."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    good = filled(tmp_path, key_of())
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr("upstream.store.shards.safe_open", refuse)
        again = StateStore(tmp_path, key_of())
    assert again.damaged == [path.name for path in shards(good)]
    assert len(StateStore(tmp_path, key_of())) == len(DIGESTS)


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to nothing"])
def test_what_is_no_file_is_passed_over(kind: str, tmp_path: Path) -> None:
    good = filled(tmp_path, key_of())
    odd = good.folder / ("0" * 32 + ".safetensors")
    if kind == "a folder":
        odd.mkdir()
    elif kind == "a pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("nothing")
    again = StateStore(tmp_path, key_of())
    again.check(DIGESTS)
    assert len(again) == len(DIGESTS)


@pytest.mark.parametrize("card", ["", "{}", "[" * 50_000, '{"upstream": "x", "key": {"version": Infinity}}', "null"])
def test_a_damaged_card_is_written_again(card: str, tmp_path: Path) -> None:
    path = filled(tmp_path, key_of()).folder / "store.json"
    written = json.loads(path.read_text())
    path.write_text(card)
    again = StateStore(tmp_path, key_of(), "noise \udce9")  # of a file whose name is not UTF-8
    assert len(again) == len(DIGESTS)
    assert json.loads(path.read_text()) == written | {"upstream": "noise \\xe9", "made": ANY}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_a_shard_that_may_not_be_read_is_passed_over_and_kept(root: Path) -> None:
    good = filled(root, key_of(), utterances_in_shard=3)
    hidden = shards(good)[0]
    hidden.chmod(0)
    with for_reading_only(root):
        opened = StateStore(root, key_of())
        opened.refresh()
        assert opened.damaged == [hidden.name]
        assert len(opened) == 3
    assert hidden.exists()


def test_a_shard_of_another_store_is_ignored(tmp_path: Path) -> None:
    """A shard of another upstream, copied into this store under its right digest."""
    (foreign,) = shards(filled(tmp_path, key_of(fingerprint="e" * 64)))
    own = StateStore(tmp_path, key_of())
    (own.folder / foreign.name).write_bytes(foreign.read_bytes())
    again = StateStore(tmp_path, key_of())
    assert again.damaged == [foreign.name]
    assert not any(name in again for name in DIGESTS)
    assert foreign.exists()


@pytest.mark.parametrize("codec", CODECS)
def test_a_shard_of_another_codec_is_ignored(codec: str, tmp_path: Path) -> None:
    own = StateStore(tmp_path, key_of(codec=codec))
    others = [other for other in CODECS if other != codec]
    for other in others:
        (shard,) = shards(filled(tmp_path, key_of(codec=other)))
        (own.folder / shard.name).write_bytes(shard.read_bytes())
    own.refresh()
    assert len(own.damaged) == len(others)
    assert len(own) == 0


def test_a_shard_without_header_is_discarded(tmp_path: Path) -> None:
    good = filled(tmp_path, key_of())
    (shard,) = shards(good)
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(shard), bare)
    name = hashlib.sha256(bare.read_bytes()).hexdigest()[:32]
    (good.folder / f"{name}.safetensors").write_bytes(bare.read_bytes())
    assert StateStore(tmp_path, key_of()).damaged == [f"{name}.safetensors"]


def test_a_shard_whose_tensors_contradict_its_header_is_discarded(tmp_path: Path) -> None:
    """As another program might write it: what lies there would be taken for numbers of the key's codec."""
    good = filled(tmp_path, key_of(codec="float16"))
    (shard,) = shards(good)
    with safe_open(shard, framework="pt") as file:
        metadata, states = file.metadata(), file.get_tensor("states")
    shard.unlink()
    other = good.folder / "other.safetensors"
    for wrong in ({"states": states.bfloat16()}, {"states": states[:-1]}, {"states": states, "more": states}):
        save_file({name: tensor.clone() for name, tensor in wrong.items()}, other, metadata=metadata)
        assert StateStore(tmp_path, key_of(codec="float16")).damaged == [other.name]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "[]",
        "{}",
        '{"key": 1, "utterances": 2, "frames": 3}',
        '{"utterances": ["a"], "frames": ["b"]}',
        '{"utterances": [], "frames": []}',
    ],
)
def test_a_shard_with_an_invalid_header_is_discarded(header: str, tmp_path: Path) -> None:
    good = filled(tmp_path, key_of())
    (shard,) = shards(good)
    save_file(load_file(shard), good.folder / "nonsense.safetensors", metadata={"header": header})
    again = StateStore(tmp_path, key_of())
    assert again.damaged == ["nonsense.safetensors"]
    assert len(again) == len(DIGESTS)


def test_an_utterance_in_two_shards_survives_one_of_them(tmp_path: Path) -> None:
    opened = filled(tmp_path, key_of())
    (shard,) = shards(opened)
    opened.add(DIGESTS[:2], FRAMES[:2])
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    again = StateStore(tmp_path, key_of())
    again.check(DIGESTS)
    assert [name in again for name in DIGESTS] == [True, True, False, False, False, False]
    assert torch.equal(again.frames(DIGESTS[1]), FRAMES[1])


# Several processes and threads

TAKES_PART = """
import sys, time
from pathlib import Path
import torch
from upstream.store import StateStore, StoreKey

def states(name):
    return torch.arange(2 * 7 * 4.0).view(2, 7, 4) + float(name)

own, others = range(int(sys.argv[2]), 60, 2), range(1 - int(sys.argv[2]), 60, 2)
store = StateStore(Path(sys.argv[1]), StoreKey("f", "float32", 2, 4, "frames", "float32"))
for name in own:
    store.add([str(name), "1000"], [states(name), states(1000)])
    store.refresh()
    for other in range(60):
        if str(other) in store:
            assert torch.equal(store.frames(str(other)), states(other))
deadline = time.monotonic() + 60
while not all(str(name) in store for name in range(60)):
    assert time.monotonic() < deadline
    store.refresh()
store.check([str(name) for name in range(60)])
assert all(torch.equal(store.frames(str(name)), states(name)) for name in (*others, 1000))
assert store.damaged == [] and len(store) == 61
"""


def test_two_processes_write_and_read_one_store_at_once(tmp_path: Path) -> None:
    for process in [in_python(TAKES_PART, tmp_path, part) for part in (0, 1)]:
        finish(process)
    key = StoreKey("f", "float32", 2, 4, "frames", "float32")
    assert len(shards(StateStore(tmp_path, key))) == 60
    assert not list((tmp_path / key.folder_name()).glob(".writing-*"))


@pytest.mark.parametrize("open_shards", [1, 16])
def test_threads_read_at_once(open_shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "OPEN_SHARDS", open_shards)
    opened = filled(tmp_path, key_of(codec="int8"), utterances_in_shard=1)
    expected = {name: opened.frames(name) for name in DIGESTS}
    with ThreadPoolExecutor(4) as pool:
        order = [DIGESTS[index % len(DIGESTS)] for index in range(400)]
        assert all(torch.equal(s, expected[d]) for d, s in zip(order, pool.map(opened.frames, order), strict=True))


def test_a_removed_shard_is_a_user_error(tmp_path: Path) -> None:
    for reduction in ("means", "frames"):
        filled(tmp_path, key_of(reduction), utterances_in_shard=3)
        opened = StateStore(tmp_path, key_of(reduction))
        for shard in shards(opened):
            shard.unlink()
        with pytest.raises(UserError, match="run the same command again"):
            opened.means(DIGESTS) if reduction == "means" else opened.frames(DIGESTS[0])
        assert len(opened) == 0


def test_a_removed_shard_is_replaced_by_another_with_the_same_utterances(tmp_path: Path) -> None:
    filled(tmp_path, key_of(), utterances_in_shard=1)
    opened = StateStore(tmp_path, key_of())
    gone = shards(opened)
    filled(tmp_path, key_of())  # by another process
    for shard in gone:
        shard.unlink()
    assert all(torch.equal(opened.frames(d), state) for d, state in zip(DIGESTS, FRAMES, strict=True))


def test_frames_are_copies(tmp_path: Path) -> None:
    opened = filled(tmp_path, key_of())
    opened.frames(DIGESTS[0]).zero_()
    assert torch.equal(opened.frames(DIGESTS[0]), FRAMES[0])


# Memory

READS_EVERYTHING = """
import sys, threading, time
from pathlib import Path
from upstream.store import StateStore, StoreKey
from upstream.store.store import OPEN_SHARDS

def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) * 1024

def watch():
    while not done.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)

key = StoreKey("f", "float32", 13, 768, sys.argv[2], sys.argv[3])
store = StateStore(Path(sys.argv[1]), key)
names = [f"{index:064d}" for index in range(len(store))]
done, before = threading.Event(), anonymous()
peak = [before]
watcher = threading.Thread(target=watch)
watcher.start()
store.check(names)
if key.reduction == "means":
    means = store.means(names)
else:
    for name in names:
        store.frames(name)
done.set()
watcher.join()
mapped = sum(".safetensors" in line for line in open("/proc/self/maps"))
print(peak[0] - before, mapped, OPEN_SHARDS)
"""
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
MEGABYTE = 10**6


@NEEDS_PROC
def test_reading_frames_takes_no_memory_that_grows_with_the_corpus(tmp_path: Path) -> None:
    """300 MB of shards, 600 MB of float32 frames; the largest utterance is 8 MB."""
    opened = StateStore(tmp_path, StoreKey("f", "float32", 13, 768, "frames", "float16"))
    states = [noise(13, 200, 768, seed=seed) for seed in range(4)]
    for start in range(0, 76, 4):
        opened.add([f"{start + index:064d}" for index in range(4)], states)
        states = [state + 1 for state in states]
    assert opened.nbytes > 300 * MEGABYTE
    grown, mapped, most = map(int, finish(in_python(READS_EVERYTHING, tmp_path, "frames", "float16")).split())
    assert grown < 60 * MEGABYTE
    assert mapped <= most < len(shards(opened))


@NEEDS_PROC
def test_means_are_in_memory_once(tmp_path: Path) -> None:
    opened = StateStore(tmp_path, StoreKey("f", "float32", 13, 768))
    for start in range(0, 4_000, 250):
        digests = [f"{start + index:064d}" for index in range(250)]
        opened.add(digests, list(noise(250, 13, 768, seed=start)))
    size = 4_000 * 13 * 768 * 4
    grown, _, _ = map(int, finish(in_python(READS_EVERYTHING, tmp_path, "means", "float32")).split())
    assert size * 0.95 < grown < size + 30 * MEGABYTE


# Where writing fails


def test_a_full_disk_is_a_user_error_and_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    opened = StateStore(tmp_path, key_of())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device. Free some space"):
            opened.add(DIGESTS, FRAMES)
        with pytest.raises(UserError, match="No space left on device. Free some space"):
            StateStore(tmp_path / "new", key_of())
    assert [path.name for path in opened.folder.iterdir()] == ["store.json"]
    assert not any(name in opened for name in DIGESTS)
    opened.add(DIGESTS, FRAMES)
    assert len(StateStore(tmp_path, key_of())) == len(DIGESTS)


def test_an_unwritable_store_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--store"):
        StateStore(tmp_path / "file", key_of())


@contextmanager
def for_reading_only(folder: Path) -> Iterator[None]:
    """Make the folder and its subfolders read-only; root, who can always write, becomes another user for the time."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in folders:
            path.chmod(0o755)


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")
@pytest.mark.parametrize("has_card", [True, False])
def test_a_read_only_store_can_be_read(has_card: bool, root: Path) -> None:
    good = filled(root, key_of(), utterances_in_shard=3)
    altered, torn = shards(good)[0], good.folder / ("0" * 32 + ".safetensors")
    content = bytearray(altered.read_bytes())
    content[-1] ^= 1
    altered.write_bytes(content)
    torn.write_bytes(content[:100])
    if not has_card:
        (good.folder / "store.json").unlink()
    with for_reading_only(root):
        opened = StateStore(root, key_of())
        assert opened.damaged == [torn.name]
        opened.check(DIGESTS)
        opened.refresh()
        assert opened.damaged == [torn.name, altered.name]
        assert len(opened) == 3
        for name, state in zip(DIGESTS, FRAMES, strict=True):
            assert name not in opened or torch.equal(opened.frames(name), state)
        with pytest.raises(UserError, match="Permission denied.*--store"):
            opened.add(DIGESTS, FRAMES)
        with pytest.raises(UserError, match="Permission denied.*--store"):
            StateStore(root, key_of("means"))
    assert altered.exists()
    assert torn.exists()
