"""The environment of a run: versions, device, processor, and the commit of the harness."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from downstream.recipes import CHECKOUT
from upstream.processor import processor
from upstream.text import counted

PACKAGES = ("wavprobe", "torch", "torchaudio", "numpy", "av", "transformers", "jiwer", "flashlight-text", "kenlm")


def environment(device: torch.device) -> dict[str, str]:
    """Return versions, the upstream's device and the state of the source; no host name."""
    record = {
        "python": platform.python_version(),
        "system": platform.system(),
        "device": device.type,
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
    }
    if (revision := git_revision()) is not None:
        record["git"] = revision
    if device.type == "cuda":
        record["gpu"] = torch.cuda.get_device_name(device)
    for package in PACKAGES:
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            continue
    return record


def machine(device: torch.device) -> str:
    """Return what computes, in words: "NVIDIA H200", or "AMD EPYC, 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {counted(torch.get_num_threads(), 'thread')}"


def git_revision(checkout: Path = CHECKOUT) -> str | None:
    """Return the commit of the harness, then "-dirty" where files were changed; None outside its checkout.

    A repository that happens to hold the package, installed or copied, is not the harness's.
    """
    try:
        is_own = Path(_git(checkout, "rev-parse", "--show-toplevel")).resolve() == checkout
        if not (is_own and "\nname = wavprobe\n" in (checkout / "setup.cfg").read_text(encoding="utf-8")):
            return None
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
        return _git(checkout, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
