"""Names of upstreams: the tables of those that are here and of s3prl's that are not, and what a typed name means."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from upstream.nearest import either, nearest, plain
from upstream.request import NamedUpstream
from upstream.shipped_tables import read_rows, row_of_name

logger = logging.getLogger("wavprobe")

HERE = Path(__file__).parent
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json")
FILE_SUFFIXES = (*WEIGHT_SUFFIXES, ".py")  # of files, and of no repository

NAMED = {row.name: row for row in map(NamedUpstream.from_row, read_rows(HERE / "upstreams.csv"))}
RENAMED = {("wavlm_tiny", 4, 64): "wavlm_nano"}  # (name, layers, width) in earlier records -> name now
BY_REPOSITORY: dict[str | None, NamedUpstream] = {row.repository: row for row in NAMED.values() if row.repository}


def spellings() -> dict[str, NamedUpstream]:
    """Return every name of every upstream: its own, its aliases, and its repository's without the organisation."""
    tails = {row.repository.partition("/")[2]: row for row in NAMED.values() if row.repository}
    aliases = {alias: row for row in NAMED.values() for alias in row.aliases}
    return tails | aliases | NAMED


def resolved(typed: str) -> str:
    """Return the name under which a typed one is loaded and recorded.

    "hubert", "HuBERT-Base" and "facebook/hubert-base-ls960" are hubert_base, with the @REVISION that was typed, if any;
    another ORG/NAME is hf:ORG/NAME. A file or folder of that name comes before all but the catalogue's own names, and
    is logged where it could mean both. Anything else is returned as it is.
    """
    stem, at, revision = typed.partition("@")
    exists = os.path.lexists(typed)
    if stem in NAMED:
        if exists:
            logger.warning("%s is the upstream of that name; type ./%s for the file or folder here.", typed, typed)
        return typed
    row = BY_REPOSITORY.get(stem) if "/" in stem else by_spelling(stem)
    if row is None and not is_repository(stem):
        return typed
    name = f"hf:{typed}" if row is None else f"{row.name}{at}{revision}"
    if exists:
        logger.warning("%s is the file or folder here; type %s for that upstream.", typed, name)
        return typed
    if row is None and Path(stem).parent.is_dir():  # a mistyped path rather than a repository of the hub
        return typed
    return name


def by_spelling(name: str) -> NamedUpstream | None:
    """Return the upstream that has that name or alias, however it is spelled; None for any other name."""
    return {plain(one): row for one, row in spellings().items()}.get(plain(name))


def is_repository(name: str) -> bool:
    """Return True for what has the form of a repository of the hub, ORG/NAME."""
    return REPOSITORY.fullmatch(name) is not None and not name.endswith(FILE_SUFFIXES)


def is_function(name: str) -> bool:
    """Return True for what has the form of a function in a file, module.py:function."""
    return name.rpartition(":")[0].endswith(".py") and not name.startswith("hf:")


def name_now(name: str, layers: int, width: int) -> str:
    """Return the catalogue's name of an upstream that was recorded under `name` with so many states and such a width.

    wavlm_tiny was once the network that is wavlm_nano now.
    """
    return RENAMED.get((name, layers, width), name)


def or_shipped(path: Path) -> Path:
    """Return the path of a checkpoint, or the folder of shipped weights for their name where there is no such path."""
    row = None if os.path.lexists(path) else by_spelling(str(path))
    return path if row is None or row.folder is None else row.folder


def unknown_upstream(name: str) -> str:
    """Return the message for a name that is not an upstream."""
    stem = name.partition("@")[0]
    if missing := not_here(stem):
        return missing
    if file := python_file(name):
        return f"{name} is not the form of a function; type {file}."
    known = spellings()
    near = list(dict.fromkeys(known[one].name for one in nearest(stem, known)))
    if Path(name).parent != Path() and Path(name).parent.is_dir():
        suggestion = f"The folder {Path(name).parent} is here, but has no {Path(name).name}."
    elif near:
        suggestion = f"Did you mean {either(near)}?"
    elif family := [row.name for row in NAMED.values() if first_word(row.name) == first_word(stem)]:
        suggestion = f"Of that kind there are {', '.join(family)}."
    else:
        suggestion = "`wavprobe list` shows the names."
    return (
        f"There is no upstream or file called {name!r}. {suggestion} "
        "Also possible: a repository of the hub as hf:ORG/NAME, the path of a checkpoint, or module.py:function."
    )


def python_file(name: str) -> str | None:
    """Return package/module.py:function for package.module:function, as other tools write it, if there is that file."""
    module, colon, function = name.rpartition(":")
    file = Path(f"{module.replace('.', '/')}.py")
    return f"{file}:{function}" if colon and function.isidentifier() and file.is_file() else None


def not_here(name: str) -> str | None:
    """Return a sentence for an upstream of s3prl that is not here; None for any other name."""
    row = row_of_name(HERE / "not_here.csv", name) if "/" not in name else None
    if row is None:
        return None
    if not row["title"]:
        return f"{name} is a name of s3prl that is not needed here: {row['why']}."
    return (
        f"{name} is {row['title']}, which is not available here: {row['why']}. "
        "`wavprobe list` shows what is; any model can be wrapped as module.py:function."
    )


def first_word(name: str) -> str:
    """Return the first word of a name, "wavlm" of "WavLM-Base"."""
    return re.split(r"[\W_]", name.casefold())[0]
