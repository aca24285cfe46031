"""A user's file: found, imported and called, so that whatever it raises is a sentence and what it sets is set back."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from upstream.errors import UserError, message_of
from upstream.foreign import foreign_code
from upstream.nearest import did_you_mean


def parse(spec: str) -> tuple[Path, str]:
    """Split "path/module.py:function" into the file and the function's name.

    Raises UserError for text of another form, and if there is no such file.
    """
    file, colon, function_name = spec.rpartition(":")
    path = Path(file)
    if not colon or path.suffix != ".py" or not function_name.isidentifier():
        raise UserError(f"{spec!r} is not of the form module.py:function, such as my_model.py:build.")
    if not path.is_file():
        raise UserError(f"There is no file {path} for {spec!r}; check the path, relative to the current directory.")
    return path, function_name


def import_file(path: Path) -> ModuleType:
    """Import a Python file by its path, under a unique module name.

    Raises UserError for whatever the file raises.
    """
    name = f"wavprobe_custom_{path.stem}_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise UserError(f"Python cannot import {path}; expected a source file that ends in .py.")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module by name
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))  # to import files beside it; last, so that they hide nothing
    with running(f"Importing {path}", path), without_arguments(path):
        # Compiled from the current text, not from a .pyc file that may be older than the fingerprinted file.
        exec(spec.loader.source_to_code(path.read_bytes(), str(path)), module.__dict__)
    return module


def find_function(module: ModuleType, path: Path, name: str) -> Callable[..., Any]:
    """Return the function of that name; raises UserError with the nearest name if there is none."""
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    callables = {key: value for key, value in vars(module).items() if callable(value)}
    defined = [key for key, value in callables.items() if getattr(value, "__module__", None) == module.__name__]
    suggestion = did_you_mean(name, defined) or f"It defines: {', '.join(defined) or 'no function'}."
    raise UserError(f"{path} has no function {name!r}. {suggestion}")


# ---------------------------------------------------------------- what it raises


def running(what: str, path: Path, memory_passes: bool = False) -> AbstractContextManager[None]:
    """Return a context for the user's code, whose exceptions become a UserError with the line in `path`."""
    return foreign_code(what, lambda error: fix_for(error, path), path, memory_passes)


def fix_for(error: BaseException, path: Path) -> str:
    """Return what to do about an error of the user's file."""
    match error:
        case ModuleNotFoundError(name=str(name)):
            return f"Install {name.partition('.')[0]}, or put its file beside {path.name}; then run again."
        case ImportError() if "relative import" in message_of(error):
            return "The file is imported by itself, not as part of a package: write its imports without the dot."
        case FileNotFoundError(filename=str(name)) if not Path(name).is_absolute():
            return (
                f"{name} was looked for in the current directory; for a file beside {path.name} write "
                f"Path(__file__).parent / {name!r}."
            )
        case TypeError() if "required positional argument" in message_of(error):
            return (
                "The function gets no arguments but random_init and seed, and a model a list of waveforms alone; give "
                "other parameters a default."
            )
        case RuntimeError() | AssertionError() if not torch.cuda.is_available() and needs_gpu(message_of(error)):
            return (
                "Leave .cuda() out: a model is moved to the device that --device names. Weights of a GPU are loaded by "
                "torch.load(..., map_location='cpu')."
            )
        case SystemExit():
            return "Keep what belongs to a script of its own below `if __name__ == '__main__':`, and run again."
    return "Fix it and run again."


def needs_gpu(message: str) -> bool:
    """Return True for the messages of PyTorch without a GPU, whose words differ with the way it was built."""
    return "CUDA" in message or "NVIDIA" in message


# ---------------------------------------------------------------- what it sets


@contextmanager
def without_arguments(path: Path) -> Iterator[None]:
    """Give a file that parses its command line at once an empty one, not that of this program."""
    given, sys.argv = sys.argv, [str(path)]
    try:
        yield
    finally:
        sys.argv = given


@contextmanager
def settings_kept() -> Iterator[None]:
    """Restore what a user's code may set for everyone, and what is learned and printed afterwards depends on.

    These are the streams, and PyTorch's gradient mode, default precision, default device and automatic precision.
    """
    precision, device = torch.get_default_dtype(), torch.get_default_device()
    automatic = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    try:
        with (
            redirect_stdout(sys.stdout),
            redirect_stderr(sys.stderr),
            torch.set_grad_enabled(torch.is_grad_enabled()),
        ):
            yield
    finally:
        torch.set_default_dtype(precision)
        if torch.get_default_device() != device:
            torch.set_default_device(device)
        for kind, enabled in automatic.items():
            torch.set_autocast_enabled(kind, enabled)


@contextmanager
def generators_kept(seed: int | None = None) -> Iterator[None]:
    """Restore the random generators of PyTorch, NumPy and Python afterwards; begin with this seed, if any."""
    in_use = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=in_use):
            if seed is not None:
                torch.manual_seed(seed)
                np.random.seed(seed % 2**32)
                random.seed(seed)
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
