"""The environment of a record: versions, no host, and no commit but the harness's own."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
import torch
from places import REPOSITORY

from downstream.results import environment
from downstream.results.environment import git_revision
from upstream.processor import processor

SETUP = "[metadata]\nname = wavprobe\n"


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *settings, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def repository(folder: Path, **files: str) -> str:
    """Make a repository with one commit of these files, and return the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "checkout"


def test_a_checkout_has_its_commit(checkout: Path) -> None:
    commit = repository(checkout, setup_cfg=SETUP)
    assert git_revision(checkout) == commit
    (checkout / "new.txt").write_text("not tracked")
    assert git_revision(checkout) == commit


def test_a_changed_checkout_is_dirty(checkout: Path) -> None:
    commit = repository(checkout, setup_cfg=SETUP)
    (checkout / "setup.cfg").write_text(SETUP + "version = 2\n")
    assert git_revision(checkout) == f"{commit}-dirty"


def test_asking_takes_no_lock_of_the_checkout(checkout: Path) -> None:
    """Somebody who commits there meanwhile would be refused; so the index is not refreshed either."""
    commit = repository(checkout, setup_cfg=SETUP)
    (checkout / "setup.cfg").touch()
    index = checkout / ".git" / "index"
    before = index.stat().st_mtime_ns
    (checkout / ".git" / "index.lock").touch()
    assert git_revision(checkout) == commit
    assert index.stat().st_mtime_ns == before


def test_a_package_inside_somebody_elses_repository_has_none(checkout: Path) -> None:
    """In a virtual environment below a project, as a rule."""
    repository(checkout, setup_cfg=SETUP)
    site = checkout / "venv" / "lib" / "site-packages"
    site.mkdir(parents=True)
    assert git_revision(site) is None
    (site / "setup.cfg").write_text(SETUP)
    assert git_revision(site) is None


@pytest.mark.parametrize("setup", [None, "[metadata]\nname = theirs\n", "[metadata]\nname = wavprobe-plus\n"])
def test_a_package_copied_into_somebody_elses_repository_has_none(setup: str | None, checkout: Path) -> None:
    repository(checkout, **({"README_md": "theirs"} if setup is None else {"setup_cfg": setup}))
    assert git_revision(checkout) is None


def test_without_a_repository_there_is_none(checkout: Path) -> None:
    checkout.mkdir()
    (checkout / "setup.cfg").write_text(SETUP)
    assert git_revision(checkout) is None


def test_without_a_commit_or_git_there_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.mkdir()
    (checkout / "setup.cfg").write_text(SETUP)
    git(checkout, "init", "--quiet")
    assert git_revision(checkout) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_revision(REPOSITORY) is None


def test_a_record_has_the_commit_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for revision in ("abc-dirty", None):
        monkeypatch.setitem(environment.__globals__, "git_revision", lambda found=revision: found)
        assert environment(torch.device("cpu")).get("git") == revision


def test_versions_and_machine_without_its_name() -> None:
    found = environment(torch.device("cpu"))
    assert torch.__version__.startswith(found["torch"])
    assert (found["device"], found["processor"], found["threads"]) == ("cpu", processor(), str(torch.get_num_threads()))
    assert {"python", "system", "wavprobe", "numpy"} <= set(found)
    assert socket.gethostname() not in set(found.values())
    assert "gpu" not in found
    assert all(isinstance(value, str) for value in found.values())
