"""`wavprobe store`: what the commands show and find, and that they remove only what they report."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from places import REPOSITORY

import upstream
from upstream.errors import UserError
from upstream.sizes import readable
from upstream.store import StateStore, StoreKey, command, estimate_bytes
from upstream.store.__main__ import main
from upstream.unfinished import lock_kept

DAY = 86_400
LAYERS, DIM = 2, 64
MEANS = StoreKey("a" * 64, "float32", LAYERS, DIM)
FRAMES = replace(MEANS, fingerprint="b" * 64, reduction="frames", codec="int8")


def fill(folder: Path, key: StoreKey, name: str, utterances: int = 4, days_ago: float = 0.0) -> StateStore:
    """A store of two shards, last used `days_ago`."""
    opened = StateStore(folder / "states", key, name)
    shape = (LAYERS, DIM) if key.reduction == "means" else (LAYERS, 10, DIM)
    for start in (0, utterances // 2):
        names = [hashlib.sha256(bytes([start + index])).hexdigest() for index in range(utterances // 2)]
        opened.add(names, [torch.randn(shape) for _ in names])
    moment = time.time() - days_ago * DAY
    os.utime(opened.folder / "store.json", (moment, moment))
    return opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three stores: of wavlm_base, used 1 and 40 days ago, and of hubert, used 20 days ago."""
    fill(tmp_path, MEANS, "wavlm_base", utterances=6, days_ago=40)
    fill(tmp_path, FRAMES, "wavlm_base", utterances=8, days_ago=1)
    fill(tmp_path, replace(MEANS, fingerprint="c" * 64), "hf:facebook/hubert-base-ls960", days_ago=20)
    return tmp_path


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(folder: Path, command: str, *arguments: str) -> int:
    return main([command, "--store", str(folder), *arguments])


def alter(store: Path) -> Path:
    """Change one byte of one of its shards."""
    shard = sorted(store.glob("*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    return shard


# list


def test_list_shows_every_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime for path in folder.rglob("*")}
    assert run(folder, "list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    rows = [line for line in lines if "float32" in line or "int8" in line]
    assert [row[:5] for row in rows] == [
        ["wavlm_base", "frames", "int8", "float32", "8"],
        ["hf:facebook/hubert-base-ls960", "means", "float32", "float32", "4"],
        ["wavlm_base", "means", "float32", "float32", "6"],
    ]
    assert rows[2][7] == time.strftime("%Y-%m-%d", time.localtime(time.time() - 40 * DAY))
    total = sum(len(content) for content in files(folder).values())
    assert ["total", *readable(total).split()] in lines
    assert {path: path.stat().st_mtime for path in folder.rglob("*")} == before  # listing does not count as use


def test_list_without_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere", "list") == 0
    assert "No hidden states are stored in" in capsys.readouterr().out
    assert not (tmp_path / "nowhere").exists()


def test_an_utterance_in_two_shards_is_counted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, MEANS, "twice")
    fill(tmp_path, MEANS, "twice")
    assert run(tmp_path, "list") == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if "twice" in line]
    assert row[4] == "4"


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"upstream": "x", "key": {"wrong": 1}}', "version 1", "foreign"])
def test_an_unreadable_store_is_listed_and_can_be_removed(
    card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For example a store of an earlier version, which had no card."""
    made = {"version 1": replace(MEANS, version=1), "foreign": FRAMES}.get(card)
    if made is not None:
        card = json.dumps({"upstream": "x", "key": asdict(made)})
    key = replace(MEANS, version=1) if made and made.version == 1 else MEANS
    store = fill(tmp_path, MEANS, "x").folder
    store = store.rename(store.with_name(key.folder_name()))
    (store / "store.json").write_text(card)
    assert run(tmp_path, "list") == 0
    assert "another version" in capsys.readouterr().out
    assert run(tmp_path, "verify") == 0
    assert len(list(store.glob("*.safetensors"))) == 2
    assert run(tmp_path, "prune", "--all", "--yes") == 0
    assert not store.exists()


# estimate


def test_estimate_shows_the_size_for_each_codec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["-u", "wavlm_base_plus@main", "--hours", "2", "--utterances", "1000"]
    assert run(tmp_path / "nowhere", "estimate", *command) == 0
    shown = capsys.readouterr().out
    assert "2 h of audio, 1,000 utterances of 7.2 s" in shown
    rows = {tuple(line.split()[:2]): " ".join(line.split()[2:4]) for line in shown.splitlines() if line.strip()}
    key = StoreKey("", "float32", 13, 768)
    assert rows["means", "float32"] == readable(estimate_bytes(key, 320, [7.2] * 1000))
    statistics = replace(key, reduction="statistics")
    assert rows["statistics", "float32"] == readable(estimate_bytes(statistics, 320, [7.2] * 1000))
    for codec in ("float32", "float16", "bfloat16", "int8"):
        frames = replace(key, reduction="frames", codec=codec)
        assert rows["frames", codec] == readable(estimate_bytes(frames, 320, [7.2] * 1000))
    assert "are free on the disk of" in shown
    assert not (tmp_path / "nowhere").exists()


def test_estimate_of_other_upstreams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "estimate", "-u", "fbank", "--hours", "1e6") == 0
    filterbank = upstream.load("fbank")
    key = StoreKey.of(filterbank, "frames", "float32")
    shown = capsys.readouterr().out
    assert readable(estimate_bytes(key, filterbank.stride, [5.0]) * 720_000_000) in shown
    assert "does not fit" in shown


@pytest.mark.parametrize("arguments", [["--hours", "0"], ["--hours", "nan"], ["--hours", "1", "--utterances", "0"], []])
def test_estimate_refuses_invalid_numbers(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "estimate", "-u", "fbank", *arguments)


def test_estimate_of_an_unknown_upstream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "estimate", "-u", "wavlm_bas", "--hours", "1") == 2
    assert "Did you mean wavlm_base?" in capsys.readouterr().err


# verify


def test_verify_removes_damaged_shards_and_names_their_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "verify") == 0
    assert "6 shards in 3 stores: 6 sound, 0 damaged." in capsys.readouterr().out
    before = files(folder)
    altered = alter(folder / "states" / MEANS.folder_name())
    foreign = folder / "states" / FRAMES.folder_name() / altered.name
    foreign.write_bytes(before[altered])  # intact, but of another store
    torn = sorted((folder / "states" / FRAMES.folder_name()).glob("*.safetensors"))[0]
    torn = torn if torn != foreign else foreign.with_stem("1" * 32)
    torn.write_bytes(before[altered][:99])
    assert run(folder, "verify") == 1
    shown = capsys.readouterr().out
    assert f"damaged: {altered.name} (wavlm_base, means, float32), removed" in shown
    assert f"damaged: {foreign.name} (wavlm_base, frames, int8), removed" in shown
    assert f"damaged: {torn.name} (wavlm_base, frames, int8), removed" in shown
    assert "3 damaged" in shown
    assert not altered.exists()
    assert files(folder) == {path: content for path, content in before.items() if path not in (altered, torn)}
    assert run(folder, "verify") == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_verify_goes_on_after_what_it_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    """As another user, in a folder that pytest does not close to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        store = fill(folder, MEANS, "wavlm_base").folder
        altered = alter(store)
        (hidden,) = set(store.glob("*.safetensors")) - {altered}
        hidden.chmod(0)
        os.mkfifo(store / f"{'0' * 32}.safetensors")
        os.seteuid(65_534)
        try:
            assert run(folder, "verify") == 1
            assert run(folder, "list") == 0
            assert run(folder, "prune") == 0
        finally:
            os.seteuid(0)
        shown = capsys.readouterr().out
        assert (
            f"damaged: {hidden.name} (wavlm_base, means, float32), could not be removed: you may not read it" in shown
        )
        assert f"damaged: {altered.name} (wavlm_base, means, float32), could not be removed: this folder is" in shown
        assert "3 shards in 1 store: 0 sound, 3 damaged." in shown


def test_a_card_or_shard_of_anything_stops_no_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = folder / "states" / MEANS.folder_name()
    os.utime(store / "store.json", (1e15, 1e15))  # beyond every calendar
    odd = folder / "states" / ("5" * 24)
    odd.mkdir()
    for content in (b"[" * 50_000, b'{"upstream": 1e999}', b"\xff", b'{"upstream": ["x"], "key": [1]}'):
        (odd / "store.json").write_bytes(content)
        (odd / "a.safetensors").write_bytes(content)
        for words in (["list"], ["prune"], ["prune", "--keep", "1GB"], ["verify"]):
            assert run(folder, *words) in (0, 1)
            assert "Traceback" not in capsys.readouterr().err


# prune


def test_prune_removes_nothing_without_yes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(folder)
    assert run(folder, "prune", "--all") == 0
    shown = capsys.readouterr().out
    assert shown.count("would remove ") == 3
    total = sum(len(content) for content in before.values())
    assert f"{readable(total)} would be freed. Nothing was removed; add --yes to remove it." in shown
    assert files(folder) == before
    assert run(folder, "prune", "--all", "--yes") == 0
    assert f"{readable(total)} freed" in capsys.readouterr().out
    assert list((folder / "states").iterdir()) == []
    assert run(folder, "prune", "--all", "--yes") == 0
    assert "Nothing to remove." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "remaining"),
    [
        ([], ["frames 1", "hubert 20", "means 40"]),
        (["--older-than", "30"], ["frames 1", "hubert 20"]),
        (["--older-than", "10"], ["frames 1"]),
        (["--older-than", "0"], []),
        (["--upstream", "wavlm_base"], ["hubert 20"]),
        (["--upstream", "wavlm_base", "--older-than", "10"], ["frames 1", "hubert 20"]),
        (["--keep", "1GB"], ["frames 1", "hubert 20", "means 40"]),
        (["--keep", "ALL"], ["frames 1", "hubert 20", "means 40"]),
        (["--keep", "ALL_BUT_ONE_BYTE"], ["frames 1", "hubert 20"]),
        (["--keep", "FRAMES"], ["frames 1"]),
        (["--keep", "0"], []),
        (["--keep", "ALL_BUT_ONE_BYTE", "--upstream", "hf:facebook/hubert-base-ls960"], ["frames 1", "means 40"]),
        (["--keep", "0", "--older-than", "10"], ["frames 1"]),
    ],
)
def test_prune_removes_stores_that_meet_conditions(arguments: list[str], remaining: list[str], folder: Path) -> None:
    keys = {"frames 1": FRAMES, "hubert 20": replace(MEANS, fingerprint="c" * 64), "means 40": MEANS}
    folders = {name: folder / "states" / key.folder_name() for name, key in keys.items()}
    total = sum(len(content) for content in files(folder).values())
    sizes = {
        "ALL": total,
        "ALL_BUT_ONE_BYTE": total - 1,
        "FRAMES": sum(len(content) for content in files(folders["frames 1"]).values()),
    }
    arguments = [str(sizes.get(argument, argument)) for argument in arguments]
    assert run(folder, "prune", *arguments, "--yes") == 0
    assert [name for name, path in folders.items() if path.exists()] == remaining
    for name in remaining:
        opened = StateStore(folder / "states", keys[name])
        assert len(list(opened.folder.glob("*.safetensors"))) == 2


def test_prune_removes_only_leftovers_without_conditions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever below the store they lie, files and folders, but not those that a process is writing."""
    before = files(folder)
    store = folder / "states" / MEANS.folder_name()
    (folder / "corpora" / "demo").mkdir(parents=True)
    names = [".writing-1", "states/.writing-2", f"states/{store.name}/.writing-3"]
    killed, alive, notes = [folder / name for name in names], store / ".writing-new", store / "notes.txt"
    for path in (*killed, alive, notes):
        path.write_bytes(b"x" * 1_234)
    synthesis = folder / "corpora" / "demo" / ".writing-4"
    (synthesis / "draft").mkdir(parents=True)
    (synthesis / "draft" / "one.flac").write_bytes(b"x" * 1_234)
    for path in (*killed, alive, notes, synthesis):
        os.utime(path, (time.time() - 60,) * 2)
    with alive.open("rb+") as stream, lock_kept(stream.fileno()):
        assert run(folder, "prune") == 0
        shown = capsys.readouterr().out
        for name in (*names, "corpora/demo/.writing-4"):
            assert f"would remove leftover {name}: 1.23 KB" in shown
        assert alive.name not in shown
        assert killed[0].exists()
        assert run(folder, "prune", "--yes") == 0
    assert files(folder) == before | {alive: b"x" * 1_234, notes: b"x" * 1_234}
    assert not synthesis.exists()


def test_redundant_shards_are_leftovers(tmp_path: Path) -> None:
    """Two processes that fill one store leave such shards; one copy of everything is kept."""
    opened = StateStore(tmp_path / "states", MEANS, "noise")
    states = {name: torch.randn(LAYERS, DIM) for name in "abcdef"}
    for names in ("ab", "cd", "bc", "ef", "fe"):
        opened.add(list(names), [states[name] for name in names])
    assert run(tmp_path, "prune", "--yes") == 0
    again = StateStore(tmp_path / "states", MEANS)
    assert len(list(again.folder.glob("*.safetensors"))) == 3
    assert torch.equal(again.means(list(states)), torch.stack(list(states.values()), dim=1))
    assert torch.equal(opened.means(list(states)), torch.stack(list(states.values()), dim=1))


def test_prune_keeps_folders_that_are_not_stores(tmp_path: Path) -> None:
    fill(tmp_path, MEANS, "wavlm_base")
    strange = tmp_path / "states" / "my folder"
    strange.mkdir()
    (strange / "precious.safetensors").write_text("x")
    (tmp_path / "states" / ("0" * 24)).write_text("a file")
    kept = tmp_path / "states" / MEANS.folder_name() / "notes.txt"
    kept.write_text("mine")
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "audio.wav").write_text("x")
    assert run(tmp_path, "prune", "--all", "--yes") == 0
    assert {path.name for path in files(tmp_path)} == {"precious.safetensors", "0" * 24, "notes.txt", "audio.wav"}


def test_prune_refuses_invalid_conditions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(folder)
    assert run(folder, "prune", "--all", "--keep", "1GB", "--yes") == 2
    assert "--all cannot be combined with other conditions" in capsys.readouterr().err
    assert run(folder, "prune", "--upstream", "wavlm", "--yes") == 2
    assert "No store is of the upstream 'wavlm'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(folder, "prune", "--older-than", "-1", "--yes")
    assert run(folder, "prune", "--keep", "9" * 400 + "GB", "--yes") == 2
    assert "larger than any disk" in capsys.readouterr().err
    assert files(folder) == before


# The command itself


def test_the_command_runs_as_a_module(folder: Path) -> None:
    command = [sys.executable, "-m", "upstream.store", "verify", "--store", str(folder)]
    alter(folder / "states" / FRAMES.folder_name())
    outcomes = [subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False) for _ in range(2)]
    assert [outcome.returncode for outcome in outcomes] == [1, 0]
    assert "6 shards in 3 stores: 5 sound, 1 damaged." in outcomes[0].stdout
    assert not any("Traceback" in outcome.stderr for outcome in outcomes)


def test_permission_errors_are_user_errors(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    altered = alter(folder / "states" / MEANS.folder_name())
    monkeypatch.setattr(Path, "unlink", refuse)
    assert run(folder, "verify") == 1
    assert f"damaged: {altered.name} (wavlm_base, means, float32), could not be removed" in capsys.readouterr().out
    assert run(folder, "prune", "--all", "--yes") == 2
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nbytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 KB"), (999_600, "1 MB"), (12_345_678, "12.3 MB"), (4.2e15, "4,200 TB")],
)
def test_sizes_are_readable(nbytes: float, shown: str) -> None:
    assert readable(nbytes) == shown


def test_a_console_command_gets_errors_as_exceptions(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = parser.parse_args(["prune", "--store", str(tmp_path), "--all", "--keep", "1GB"])
    with pytest.raises(UserError, match="--all cannot be combined"):
        command.run(options)
    assert command.run(parser.parse_args(["list", "--store", str(tmp_path)])) == 0
