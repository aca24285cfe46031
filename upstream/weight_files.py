"""Weight files of every model: which ones a path means, reading them without running code, and what their tensors are.

Weight files are untrusted: only safetensors and PyTorch's weights-only loader are used.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from upstream.errors import UserError
from upstream.file_kind import is_safetensors, other_kind
from upstream.files import named_in_utf8
from upstream.json_file import read_json_object

WHOLE = ("model.safetensors", "pytorch_model.bin")  # of a Hugging Face directory, the first that is there
INDEX = ".index.json"
PIECE = re.compile(r"-\d+-of-(\d+)\.(safetensors|bin)$")
LORA = re.compile(r"(?:^|\.)lora_\w+|\.base_layer\.")  # names of its tensors
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
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
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
    """Return the shards that an index lists, sorted; they must be beside it."""
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


def refuse_unmerged(names: Iterable[str], where: str) -> None:
    """Raise UserError for weights that a LoRA adapter is not merged into; names: of tensors. where: their file."""
    found = [name for name in names if LORA.search(name)]
    if found:
        raise UserError(
            f"{where} has LoRA weights that are not merged into the encoder, {found[0]} first of {len(found)}. Merge "
            "them and save the model: model.merge_and_unload().save_pretrained(directory)."
        )


def require_model_folder(folder: Path) -> None:
    """Raise UserError for a folder without a config.json; the message names the folders within that have one."""
    if is_there(folder / "config.json"):
        return
    if (folder / "snapshots").is_dir():
        main = folder / "refs" / "main"
        revisions = sorted(entry.name for entry in (folder / "snapshots").iterdir())
        chosen = main.read_text().strip() if main.is_file() else "".join(revisions[:1])
        raise UserError(
            f"{folder} is a repository in the hub's cache, with {len(revisions)} snapshots. "
            f"Name one of them: {folder / 'snapshots' / chosen}"
        )
    within = sorted((path.parent for path in folder.glob("*/config.json")), key=lambda path: path.stat().st_mtime)
    if within:
        raise UserError(
            f"{folder} has no config.json, but {len(within)} folders within have one, such as the checkpoints of a "
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
        reason = "it is no pickle of torch.save" if isinstance(error, pickle.UnpicklingError) else first_line(error)
        raise UserError(
            f"{path} is cut short or damaged, or of another kind ({reason}). Get the file again."
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's message without the final period, or the error's type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def require_floats(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise UserError unless all tensors are dense numbers in a floating-point format that is read here.

    Looks at no number: sparse tensors and views of little memory would first take a lot more.

    tensors: of an encoder; tensors of no use, such as counters of a head, are best left out. where: their file.
    """
    problems = [f"{name} is {problem}" for name, tensor in tensors.items() if (problem := _problem_of(tensor))]
    if problems:
        raise UserError(
            f"{where} has {len(problems)} tensors that are no plain weights: {', '.join(problems[:3])}"
            f"{' …' if len(problems) > 3 else ''}. Expected dense float32, float16, bfloat16 or float64; load the "
            "model where it was made, turn the weights back into these (dequantise them) and save it again."
        )


def _problem_of(tensor: Tensor) -> str | None:
    """Return what keeps a tensor from being used as a weight, None for a dense tensor of floats."""
    if tensor.is_meta:
        return "without numbers (on the meta device)"
    if tensor.is_quantized:
        return f"quantised ({_name_of(tensor.dtype)})"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.dtype not in FLOATS:
        return _name_of(tensor.dtype)
    held = tensor.untyped_storage().nbytes() // tensor.itemsize
    if tensor.numel() > held:
        return f"a view of {held:,} numbers as {tensor.numel():,}"
    return None


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
