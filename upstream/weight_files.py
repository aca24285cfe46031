"""Weight files of every model: which ones a path means, and reading them without running code.

Weight files are untrusted: only safetensors and PyTorch's weights-only loader are used.
"""

from __future__ import annotations

import argparse
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from upstream.errors import UserError, words_of
from upstream.file_kind import is_safetensors, other_kind
from upstream.files import named_in_utf8, read_regular_file
from upstream.json_file import read_json_object
from upstream.text import counted

WHOLE = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face directory, the first that is there
INDEX = ".index.json"
PIECE = re.compile(r"-\d+-of-(\d+)\.(safetensors|bin)$")
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")  # as the PEFT library writes them


class Ignored:
    """Stands for an object of settings or a number in a PyTorch file; no code of its class runs, nothing is kept."""

    def __new__(cls, *_: object) -> Ignored:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def empty_dictionary(*_: object) -> dict[Any, Any]:
    """Return a dictionary to fill, whatever it would have been filled with by default."""
    return {}


# What a .pt may contain beside tensors and plain containers: settings and scores, as training programs save them.
NUMPY = (
    "dtype",
    "ndarray",
    *(f"{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
OMEGACONF = (
    "dictconfig.DictConfig",
    "listconfig.ListConfig",
    "base.ContainerMetadata",
    "base.Metadata",
    "nodes.AnyNode",
)
SETTINGS: list[Any] = [
    argparse.Namespace,
    *((Ignored, f"numpy.{name}") for name in NUMPY),
    *((Ignored, f"omegaconf.{name}") for name in OMEGACONF),
    *((Ignored, f"pathlib.{name}") for name in ("PosixPath", "WindowsPath", "_local.PosixPath", "_local.WindowsPath")),
    *((Ignored, f"datetime.{name}") for name in ("date", "datetime", "timedelta")),
    *((Ignored, f"builtins.{name}") for name in ("dict", "list", "int", "float", "str", "bool")),
    (Ignored, "typing.Any"),
    (empty_dictionary, "collections.defaultdict"),
]
UNSUPPORTED = re.compile(r"(?:Unsupported global: GLOBAL |unsupported GLOBAL )([\w.]+)")


def weight_files(path: Path) -> list[Path]:
    """Return the files with the weights that `path` means: a file, the shards of an index, or those of a directory.

    Of a Hugging Face directory, safetensors come before .bin, and shards in order.

    Raises UserError if there are none, a shard is missing, the file is one of several shards, or a LoRA adapter lies
    beside the weights, which would be left out.
    """
    if path.is_dir():
        refuse_adapter(path)
        for name in WHOLE:
            if is_there(path / name):
                return [path / name]
            if is_there(path / f"{name}{INDEX}"):
                return shards_of(path / f"{name}{INDEX}")
        raise UserError(
            f"{path} has no weights: expected {' or '.join(WHOLE)}, found {first_names(path)}. "
            "Name the weight file itself if it is called otherwise, or add --random-init for untrained weights."
        )
    if path.name.endswith(INDEX):
        return shards_of(path)
    if piece := PIECE.search(path.name):
        raise UserError(f"{path} is one of {int(piece[1])} files of a checkpoint; name their folder: {path.parent}")
    return [path]


def is_there(path: Path) -> bool:
    """Return True for anything at `path`; a link to nothing is an error of its reader, not an absent file."""
    return path.exists() or path.is_symlink()


def shards_of(index: Path) -> list[Path]:
    """Return the shards that an index lists, sorted; they must be beside it.

    Raises UserError for an index of another kind, and for shards that are missing.
    """
    shards = read_json_object(index).get("weight_map")
    if not isinstance(shards, dict) or not shards or any(Path(str(name)).name != name for name in shards.values()):
        raise UserError(f"{index} does not list the files of a checkpoint beside it; get it again.")
    files = [index.parent / name for name in sorted(set(shards.values()))]
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise UserError(f"{index} lists {absent[0]}, which is missing; get all {len(files)} files.")
    return files


def refuse_adapter(folder: Path) -> None:
    """Raise UserError for a directory with a LoRA adapter: its weights would be left out without a word."""
    found = [name for name in ADAPTERS if (folder / name).exists()]
    if found:
        whole = next((str(folder / name) for name in WHOLE if (folder / name).exists()), None)
        without = f"name the weight file itself: {whole}" if whole else f"type the model's own name: {_base_of(folder)}"
        raise UserError(
            f"{folder} has an adapter (LoRA) that is not merged into the weights, {found[0]}. Merge it and save the "
            "model: model.merge_and_unload().save_pretrained(directory). For the model without the adapter "
            f"{without}"
        )


def _base_of(folder: Path) -> str:
    """Return the name, as typed for -u, of the model that an adapter was trained on."""
    settings = folder / ADAPTERS[0]
    base = read_json_object(settings).get("base_model_name_or_path") if settings.is_file() else None
    return f"hf:{base or 'ORG/NAME'}"


def require_model_folder(folder: Path) -> None:
    """Raise UserError for a folder without a config.json; the message names the folders within that have one."""
    if is_there(folder / "config.json"):
        return
    if (folder / "snapshots").is_dir():
        main = folder / "refs" / "main"
        revisions = sorted(entry.name for entry in (folder / "snapshots").iterdir())
        chosen = (
            read_regular_file(main, 1000).decode(errors="replace").strip() if main.is_file() else "".join(revisions[:1])
        )
        raise UserError(
            f"{folder} is a repository in the hub's cache, with {counted(len(revisions), 'snapshot')}. "
            f"Name one of them: {folder / 'snapshots' / chosen}"
        )
    within = sorted((path.parent for path in folder.glob("*/config.json")), key=lambda path: path.stat().st_mtime)
    if within:
        which = counted(len(within), "folder within has", "folders within have")
        raise UserError(
            f"{folder} has no config.json, but {which} one, such as the checkpoints of a "
            f"training. Name one of them; the latest is {within[-1]}"
        )
    raise UserError(
        f"{folder} has no config.json; found {first_names(folder)}. Weights need the config.json of their repository "
        "in the same directory; weights of a WavLM without one are read if you name their file."
    )


def first_names(folder: Path) -> str:
    """Return the first names in a folder, for a message."""
    found = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(found[:5]) + (" …" if len(found) > 5 else "") if found else "nothing"


def read_weights(path: Path) -> dict[str, Any]:
    """Return the content of a weight file: named tensors of safetensors, or the dictionary in a PyTorch file.

    The bytes decide which of both it is, not the name. A PyTorch file may contain nested dictionaries, numbers, text
    and `SETTINGS` beside tensors.

    Raises UserError for anything else, with what the file really is, and for one that is damaged or asks for other
    classes or functions, which would run code.
    """
    try:
        kind = other_kind(path)
        if kind is not None:
            raise UserError(f"{path} {kind}")
        with named_in_utf8(path) as name:
            content: object = load_file(name) if is_safetensors(path) else _load_torch(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check its permissions.") from error
    except SafetensorError as error:
        raise UserError(f"{path} is cut short or damaged ({error}). Get the file again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} has a {type(content).__name__}, not a dictionary of tensors; save model.state_dict().")
    return content


def _load_torch(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(SETTINGS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged or hostile pickle fails in any way
        if isinstance(error, pickle.UnpicklingError) and (asked := UNSUPPORTED.search(str(error))):
            raise UserError(
                f"{path} is not a file of plain tensors: it asks for {asked[1]}, and making that would run code. "
                "Where it was made, save its tensors alone: torch.save(model.state_dict(), path)."
            ) from error
        reason = "it is no pickle of torch.save" if isinstance(error, pickle.UnpicklingError) else words_of(error)
        raise UserError(
            f"{path} is cut short or damaged, or of another kind ({reason}). Get the file again."
        ) from error
