"""What killed processes left is removed; what a process writes is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import REPOSITORY

from upstream import unfinished
from upstream.files import write_atomically
from upstream.unfinished import leftovers, remove_leftovers, unfinished_folder

WRITE_A_FILE = """
import os, sys, time
from pathlib import Path
from upstream.files import write_atomically
os.fsync = lambda _: (print("writing", flush=True), time.sleep(100))
write_atomically(Path(sys.argv[1]) / "shard", b"x" * 1000)
"""
WRITE_A_FOLDER = """
import sys, time
from pathlib import Path
from upstream.unfinished import unfinished_folder
with unfinished_folder(Path(sys.argv[1])) as folder:
    (folder / "one.flac").write_bytes(b"x")
    print("writing", flush=True)
    time.sleep(100)
"""


def aged(folder: Path) -> list[Path]:
    """Everything unfinished in a folder, as if it had been made a minute ago."""
    found = list(folder.glob(".writing-*"))
    for path in found:
        os.utime(path, (time.time() - 60,) * 2)
    return found


@pytest.mark.parametrize("script", [WRITE_A_FILE, WRITE_A_FOLDER], ids=["file", "folder"])
def test_what_a_process_writes_is_no_leftover_until_it_is_killed(script: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        written = aged(tmp_path)
        assert len(written) == 1
        assert leftovers(tmp_path) == []
        process.kill()
    assert leftovers(tmp_path) == written
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_just_made_may_not_be_locked_yet(tmp_path: Path) -> None:
    (tmp_path / ".writing-1").write_bytes(b"")
    assert leftovers(tmp_path) == []


def test_on_a_disk_without_locks_an_hour_without_a_change_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("No locks available")

    monkeypatch.setattr(unfinished.fcntl, "flock", refuse)
    for name, minutes in ((".writing-new", 10), (".writing-old", 100)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - 60 * minutes,) * 2)
    assert [path.name for path in leftovers(tmp_path)] == [".writing-old"]
    write_atomically(tmp_path / "whole", b"x")
    with unfinished_folder(tmp_path) as folder:
        assert folder.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {".writing-new", ".writing-old", "whole"}


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "shard", b"x")
    assert list(tmp_path.iterdir()) == []
