"""`wavprobe extract` and `downstream.extract`: what lies in the folder is what the store would have."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from places import REPOSITORY
from trees import message

import downstream
import upstream
from downstream.cli import main as cli
from downstream.data import recordings_named
from downstream.states import Contents, Extracted, extract_named
from downstream.states.extracted import formats
from upstream.errors import UserError
from upstream.extract import fill
from upstream.ranks import Ranks
from upstream.store import StateStore, StoreKey

NANO = ["-u", "wavlm_nano", "--random-init"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    generator = np.random.default_rng(0)
    for number in range(12):
        noise(folder / f"s{number % 3}" / f"{number}.wav", generator, 0.3 + 0.1 * number)
    return folder


@pytest.fixture(autouse=True)
def kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upstream.files.DEFAULT_STORE", tmp_path)


@pytest.fixture(scope="module")
def tiny() -> upstream.Upstream:
    return upstream.load("wavlm_nano", random_init=True)


def noise(path: Path, generator: np.random.Generator, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * generator.standard_normal(round(16_000 * seconds)), 16_000)
    return path


def read(format: str, table: Any) -> list[np.ndarray[Any, Any]]:
    """Return the states of each row of a table, read by the library that the format is of."""
    if format == "npy":
        return [np.load(file) for file in table.file]
    if format == "safetensors":
        from safetensors.numpy import load_file

        return [load_file(file)["states"] for file in table.file]
    from datasets import load_from_disk

    rows = load_from_disk(str(Path(table.file[0]).parents[1])).with_format("numpy")
    layers = [name for name in rows.column_names if name.startswith("layer_")]
    by_id = {str(row["id"]): np.stack([row[layer] for layer in layers]) for row in rows}
    return [by_id[name] for name in table.id]


@pytest.mark.parametrize("format", ["npy", "safetensors", "hf"])
@pytest.mark.parametrize("means", [False, True])
def test_the_states_are_those_of_the_store_to_the_bit(
    format: str, means: bool, recordings: Path, tiny: upstream.Upstream, tmp_path: Path
) -> None:
    table = downstream.extract(
        tiny, recordings, tmp_path / "to", layers=[-1, 0], means=means, format=format, progress=False
    )
    named = recordings_named([str(recordings)], tmp_path / "kept.sqlite", progress=False).recordings
    store = StateStore(tmp_path / "store", StoreKey.of(tiny, "means" if means else "frames", "float32"))
    fill(store, tiny, [one.item for one in named], progress=False)
    assert list(table.id) == [one.id for one in named]
    for one, frames, found in zip(named, table.frames, read(format, table), strict=True):
        whole = store.means([one.item.digest])[:, 0] if means else store.frames(one.item.digest)
        assert found.dtype == np.float32
        assert np.array_equal(found, whole.numpy()[[-1, 0]])
        assert means or frames == found.shape[1]


def test_half_precision_is_the_states_rounded(recordings: Path, tiny: upstream.Upstream, tmp_path: Path) -> None:
    tables = [
        downstream.extract(tiny, recordings, tmp_path / numbers, numbers=numbers, progress=False)
        for numbers in ("float32", "float16")
    ]
    for whole, half in zip(*(read("npy", table) for table in tables), strict=True):
        assert half.dtype == np.float16
        assert np.array_equal(whole.astype(np.float16), half)


def test_the_card_and_the_index_say_what_the_numbers_are(
    recordings: Path, tiny: upstream.Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["extract", *NANO, str(recordings), "--to", str(tmp_path / "to"), "-l", "0,2-3"]) == 0
    said = capsys.readouterr()
    assert "12 recordings, 0.2 min, as 3 x frames x" in said.out
    assert "are free" in said.err
    card = json.loads((tmp_path / "to" / "extraction.json").read_text())
    assert card["layers"] == [0, 2, 3]
    assert (card["frame_seconds"], card["first_frame_centre_seconds"]) == (0.02, 200 / 16_000)
    assert card["upstream"]["fingerprint"] == tiny.fingerprint
    header, first, *others = (tmp_path / "to" / "index.csv").read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert (row["id"], row["file"], row["seconds"], row["frames"]) == ("s0/0", "states/s0/0.npy", "0.3", "14")
    assert len(others) == 11
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["extraction.json", "index.csv", "states"]


class TestResuming:
    def test_what_is_there_is_not_encoded_again(
        self, recordings: Path, tiny: upstream.Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = downstream.extract(tiny, recordings, tmp_path / "whole", progress=False)
        written: list[str] = []
        monkeypatch.setattr("upstream.extract.BATCH_SECONDS", 2.0)

        def interrupted(*arguments: Any) -> list[str]:
            if len(written) > 3:
                raise KeyboardInterrupt
            files = formats.write(*arguments)
            written.extend(files)
            return files

        with monkeypatch.context() as patch:
            patch.setattr("downstream.states.extracted.extraction.write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                downstream.extract(tiny, recordings, tmp_path / "to", progress=False)
        assert 3 < len(written) < 12
        assert not (tmp_path / "to" / "index.csv").exists()
        stamps = {file: os.stat(tmp_path / "to" / file).st_mtime_ns for file in written}
        table = downstream.extract(tiny, recordings, tmp_path / "to", progress=False)
        assert {file: os.stat(tmp_path / "to" / file).st_mtime_ns for file in written} == stamps
        assert list(table.id) == list(whole.id)
        assert list(table.frames) == list(whole.frames)

    def test_a_killed_process_loses_what_it_was_writing(self, recordings: Path, tmp_path: Path) -> None:
        """Each batch is slowed down, so that the process is killed between two files."""
        slow = (
            "import sys, time, upstream.extract as e, downstream.states.extracted.extraction as x\n"
            "e.BATCH_SECONDS, write = 1.0, x.write\n"
            "def slowly(*a):\n    time.sleep(0.3)\n    return write(*a)\n"
            "x.write = slowly\n"
            "from downstream.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        command = ["extract", *NANO, str(recordings), "--to", str(tmp_path / "to")]
        process = subprocess.Popen(
            [sys.executable, "-c", slow, *command],
            cwd=REPOSITORY,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
            stderr=subprocess.PIPE,
        )
        until = time.monotonic() + 60
        while len(list((tmp_path / "to").rglob("*.npy"))) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        there = set((tmp_path / "to").rglob("*.npy"))
        assert 3 <= len(there) < 12, said
        assert cli.main(command) == 0
        assert set((tmp_path / "to").rglob("*.npy")) > there
        assert len(list((tmp_path / "to").rglob("*.npy"))) == 12

    @pytest.mark.parametrize("format", ["npy", "hf"])
    def test_a_changed_recording_is_encoded_again(self, format: str, tiny: upstream.Upstream, tmp_path: Path) -> None:
        generator = np.random.default_rng(1)
        files = [noise(tmp_path / f"{name}.wav", generator, 0.5) for name in "ab"]
        first = downstream.extract(tiny, files, tmp_path / "to", format=format, progress=False)
        before = read(format, first)
        noise(files[1], generator, 0.7)
        table = downstream.extract(tiny, files, tmp_path / "to", format=format, progress=False)
        after = read(format, table)
        assert list(table.frames) == [24, 34]
        np.testing.assert_allclose(before[0], after[0], atol=1e-5)
        assert after[1].shape[1] == 34
        present = {str(path) for path in (tmp_path / "to").rglob("*.*") if path.suffix in (".npy", ".arrow")}
        assert present == set(table.file)

    def test_others_in_the_file_of_a_changed_recording_are_not_lost(
        self, tiny: upstream.Upstream, tmp_path: Path
    ) -> None:
        generator = np.random.default_rng(1)
        files = [noise(tmp_path / f"{name}.wav", generator, 0.5) for name in "ab"]
        downstream.extract(tiny, files, tmp_path / "to", format="hf", progress=False)
        noise(files[1], generator, 0.7)
        said = message(lambda: downstream.extract(tiny, files[1], tmp_path / "to", format="hf", progress=False))
        assert "in one file with those of" in said
        assert "a.wav, which is not named now" in said

    def test_a_torn_or_removed_file_is_made_again(
        self, recordings: Path, tiny: upstream.Upstream, tmp_path: Path
    ) -> None:
        table = downstream.extract(tiny, recordings, tmp_path / "to", means=True, progress=False)
        whole = [Path(file).read_bytes() for file in table.file[:2]]
        Path(table.file[0]).unlink()
        Path(table.file[1]).write_bytes(whole[1][:-8])
        again = downstream.extract(tiny, recordings, tmp_path / "to", means=True, progress=False)
        assert [Path(file).read_bytes() for file in again.file[:2]] == whole

    def test_a_folder_grows(self, recordings: Path, tiny: upstream.Upstream, tmp_path: Path) -> None:
        for speaker in ("s0", "s1"):
            table = downstream.extract(tiny, recordings / speaker, tmp_path / "to", format="hf", progress=False)
            assert len(table) == 4
            assert len(read("hf", table)) == 4
        assert len((tmp_path / "to" / "index.csv").read_text().splitlines()) == 1 + 8


@pytest.mark.parametrize("format", ["npy", "hf"])
def test_two_ranks_share_the_work(
    format: str, recordings: Path, tiny: upstream.Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads in place of processes, which meet at a barrier of theirs."""
    alone = downstream.extract(tiny, recordings, tmp_path / "alone", format=format, progress=False)
    barrier = threading.Barrier(2)
    monkeypatch.setattr(Ranks, "barrier", lambda self, device: barrier.wait(60) and None)
    monkeypatch.setattr("upstream.extract.BATCH_SECONDS", 2.0)

    def rank(number: int) -> Extracted:
        ranks = Ranks(number, 2, number)
        contents = Contents.of(tiny, format=format)
        return extract_named(contents, [str(recordings)], tmp_path / "both", progress=False, ranks=ranks)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(rank, range(2))
    assert first.rows == second.rows
    assert [row["id"] for row in first.rows] == list(alone.id)
    table = alone.assign(file=[str(tmp_path / "both" / row["file"]) for row in first.rows])
    for one, other in zip(read(format, alone), read(format, table), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert not list((tmp_path / "both").glob("unfinished*"))


class TestRefusals:
    def test_other_contents_and_strange_folders(
        self, recordings: Path, tiny: upstream.Upstream, tmp_path: Path
    ) -> None:
        def extracted(**settings: Any) -> object:
            return downstream.extract(tiny, recordings / "s0", tmp_path / "to", progress=False, **settings)

        extracted(layers=[1])
        assert "has other layers (1, not 0)" in message(lambda: extracted(layers=[0]))
        assert "has other states (frames, not means)" in message(lambda: extracted(layers=[1], means=True))
        other = upstream.load("fbank")
        assert "holds states of wavlm_nano (float32), not of fbank" in message(
            lambda: downstream.extract(other, recordings / "s0", tmp_path / "to", progress=False)
        )
        reseeded = upstream.load("wavlm_nano", random_init=True, seed=1)
        assert "another wavlm_nano" in message(
            lambda: downstream.extract(reseeded, recordings / "s0", tmp_path / "to", layers=[1], progress=False)
        )
        assert "is no folder of extracted states: it has 0.wav in it" in message(
            lambda: downstream.extract(tiny, recordings, recordings / "s0", progress=False)
        )

    def test_another_recording_of_the_name(self, recordings: Path, tiny: upstream.Upstream, tmp_path: Path) -> None:
        downstream.extract(tiny, recordings / "s0" / "0.wav", tmp_path / "to", progress=False)
        other = noise(tmp_path / "0.wav", np.random.default_rng(2), 0.4)
        said = message(lambda: downstream.extract(tiny, other, tmp_path / "to", progress=False))
        assert "has states under the name 0 already" in said

    def test_layers_and_formats(self, recordings: Path, tiny: upstream.Upstream, tmp_path: Path) -> None:
        def refused(**settings: Any) -> str:
            return message(lambda: downstream.extract(tiny, recordings, tmp_path / "to", progress=False, **settings))

        assert "has no layer 9; its " in refused(layers=[9])
        assert "a layer twice" in refused(layers=[0, -tiny.num_layers])
        assert "no format 'csv'" in refused(format="csv")
        assert "no number format 'int8'" in refused(numbers="int8")
        assert not (tmp_path / "to").exists()

    def test_no_room_on_the_disk_or_in_memory(
        self, recordings: Path, tiny: upstream.Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def extracted() -> object:
            return downstream.extract(tiny, recordings, tmp_path / "to", progress=False)

        place = "downstream.states.extracted.extraction"
        with monkeypatch.context() as patch:
            patch.setattr(f"{place}.free_space", lambda folder: 1000)
            assert "1.00 KB are free on the disk" in message(extracted) or "1 KB are free" in message(extracted)
        downstream.extract(tiny, recordings, tmp_path / "to", means=True, progress=False)  # as the message advises
        shutil.rmtree(tmp_path / "to")
        with monkeypatch.context() as patch:
            patch.setattr(f"{place}.free_memory", lambda: 1000)
            assert "of memory are free. Cut it by a manifest" in message(extracted)

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            assert "No space left on device. Free some space" in message(extracted)
        extracted()

    def test_states_beyond_half_precision(self, recordings: Path, tmp_path: Path) -> None:
        class Loud(type(upstream.load("fbank_no_cmvn"))):  # type: ignore[misc]
            def encode(self, waveforms: Any) -> Any:
                found = super().encode(waveforms)
                return upstream.HiddenStates(found.layers * 1e5, found.lengths)

        loud = upstream.load("fbank_no_cmvn")
        loud.__class__ = Loud
        with pytest.raises(UserError, match=r"float16 ends at 65504; add --dtype-out float32"):
            downstream.extract(loud, recordings, tmp_path / "to", numbers="float16", progress=False)


def test_names_that_no_file_may_have() -> None:
    assert formats.file_name("anna/01") == "anna/01"
    strange = ["../x", "/x", "x", "a:b", "a*b", "é" * 200, "", "."]
    names = [formats.file_name(name) for name in strange]
    assert len(set(names)) == len(names)
    for name in names:
        assert ".." not in name.split("/")
        assert not name.startswith("/")
        assert all(len(part.encode()) < 200 for part in name.split("/"))
