"""Where a model of transformers lies: a directory, a weight file in one, or a repository of the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from upstream.errors import UserError
from upstream.hub import fetch
from upstream.names import WEIGHT_SUFFIXES
from upstream.text import printable

CONFIG = "config.json"
REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model on this machine.

    folder: with config.json and the feature extractor's settings.
    origin, revision: the hub repository and its commit, or the path and None.
    weights: the weight file that was named; None for those of the directory.
    """

    folder: Path
    origin: str
    revision: str | None = None
    weights: Path | None = None


def find_files(identifier: str, revision: str | None, weights: bool = True) -> ModelFiles:
    """Return the files of `identifier`, with or without "hf:"; a repository is downloaded from the hub.

    weights: False where its configuration suffices.

    Raises UserError for what is none of the three.
    """
    path = Path(identifier.removeprefix("hf:"))
    if path.is_dir():
        return ModelFiles(path, printable(str(path)))
    if path.is_file():
        named = None if path.name == CONFIG else path
        return ModelFiles(path.parent, printable(str(path)), weights=named)
    repository, _, typed = identifier.removeprefix("hf:").partition("@")
    if typed and revision and typed != revision:
        raise UserError(f"{identifier} names revision {typed!r}, but {revision!r} was asked for too; keep one.")
    if not REPOSITORY.fullmatch(repository) or path.suffix in WEIGHT_SUFFIXES:
        raise UserError(
            f"{identifier!r} is neither a directory or file that exists nor a repository of the hub; check the path, "
            "or type hf:ORG/NAME[@REVISION]."
        )
    return files_of(repository, typed or revision, weights, f" (there is no file or folder {repository} here)")


def files_of(repository: str, revision: str | None, weights: bool, more: str) -> ModelFiles:
    """Return the files of a repository of the hub, downloaded; raises UserError if it cannot be.

    more: what to know or do where the hub cannot be reached, for the end of the message.
    """
    needed = "checkpoint" if weights else "folder with a config.json"
    found = fetch(repository, revision, f"give the path of a {needed} to -u{more}", weights)
    return ModelFiles(found.folder, repository, found.revision)
