"""The source files of a user's model: its own, those of its classes, and all that these import, but no packages."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from torch import nn

from upstream.fingerprint import fingerprint_files


def source_files(path: Path, model: Any) -> set[Path]:
    """Return the user's files that a model depends on; installed packages and this project are left out.

    path: the file that the model was loaded from. Imports are found in the text, so that the answer does not depend on
    what was imported before; those that a program makes up are not seen.
    """
    parts = list(model.modules()) if isinstance(model, nn.Module) else [model]
    names = {type(part).__module__ for part in parts}
    files = {path.resolve()} | {file for name in names if (file := _file_of(name))}
    rest = list(files)
    while rest:
        file = rest.pop()
        found = {imported for name in _imports(file) if (imported := _file_of(name))} - files
        files |= found
        rest += found
    return files


def global_variables(files: set[Path]) -> dict[str, Any]:
    """Return the global variables of the modules that were imported from these files, by the digest of the file."""
    variables: dict[str, Any] = {}
    names = {file.name for file in files}
    for module in list(sys.modules.values()):
        file = _own_file(module)
        if file is not None and file.name in names and file.resolve() in files:
            own = {key: value for key, value in vars(module).items() if not key.startswith("__")}
            variables.setdefault(fingerprint_files([file]), own)
    return variables


def _own_file(module: object) -> Path | None:
    """Return the file of an imported module; asks no module for it, since lazy ones would import others."""
    name = getattr(module, "__dict__", {}).get("__file__")
    return Path(name) if isinstance(name, str) else None


def _imports(file: Path) -> Iterator[str]:
    """Yield the names of all modules that a source file may import."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # of a file that is not imported in fact
        return
    package = next((m.__package__ for m in list(sys.modules.values()) if _own_file(m) == file), "")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            if node.level >= len(f".{package or ''}".split(".")):
                continue  # beyond the topmost package
            base = resolve_name(relative, package or None)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _file_of(name: str) -> Path | None:
    """Return the file of a module, None if it has none, is not there, or belongs to an installed package."""
    for part in (name.partition(".")[0], name):  # the package first: finding a module in it would import it
        try:
            spec = sys.modules[part].__spec__ if part in sys.modules else find_spec(part)
        except (ImportError, ValueError, AttributeError):
            return None
        file = getattr(sys.modules.get(part), "__file__", None) or (spec.origin if spec else None)
        if part != name and file is not None and _is_installed(Path(file).resolve()):
            return None
    resolved = Path(file).resolve() if file is not None else None
    return resolved if resolved is not None and resolved.is_file() and not _is_installed(resolved) else None


def _is_installed(file: Path) -> bool:
    folders = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")]
    return any(file.is_relative_to(folder) for folder in (*folders, Path(__file__).resolve().parents[1]))  # upstream/
