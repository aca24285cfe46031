"""Files of hidden states: NumPy's, safetensors, and a dataset of Hugging Face's library."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from downstream.states.extracted.contents import Contents
from upstream.files import write_atomically

STATES, DATA = "states", "data"  # folders of the files
LONGEST_NAME = 180  # bytes of a file's name; file systems take 255
UNSAFE = re.compile(r'[\\:*?"<>|\x00-\x1f]')  # in names of files, on some system

Array = NDArray[np.floating[Any]]


def write(folder: Path, contents: Contents, rows: Sequence[dict[str, Any]], states: Sequence[Array]) -> list[str]:
    """Write the states of some recordings; return the file of each, relative to the folder.

    rows: of the index, one a recording; "id" names its file. A file is there as a whole or not at all.

    Raises UserError where a file cannot be written.
    """
    if contents.format == "hf":
        return [write_arrow(folder, contents, rows, states)] * len(rows)
    files = []
    for row, array in zip(rows, states, strict=True):
        files.append(f"{STATES}/{file_name(row['id'])}.{contents.format}")
        path = folder / files[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, npy(array) if contents.format == "npy" else safetensors(contents, row, array))
    return files


def file_name(name: str) -> str:
    """Return a recording's id as the name of a file below a folder, its slashes as folders.

    What no file may be called, or no file below that folder, gets a name with a digest.
    """
    parts = [UNSAFE.sub("_", part) for part in name.split("/") if part not in ("", ".")]
    parts = ["__" if part == ".." else part for part in parts]
    if parts and "/".join(parts) == name and all(len(part.encode()) <= LONGEST_NAME for part in parts):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    cut = [part.encode()[:LONGEST_NAME].decode(errors="ignore") for part in parts] or ["recording"]
    return "/".join([*cut[:-1], f"{cut[-1]}-{digest}"])


def npy(array: Array) -> bytes:
    """Return the bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def safetensors(contents: Contents, row: dict[str, Any], array: Array) -> bytes:
    """Return the bytes of a .safetensors file with one tensor, "states", and what it is in the metadata."""
    from safetensors.numpy import save

    described = contents.described()
    metadata = {key: json.dumps(value, ensure_ascii=False) for key, value in described.items() if key != "upstream"}
    who = {f"upstream_{key}": str(described["upstream"][key]) for key in ("name", "fingerprint", "revision")}
    return save({"states": np.ascontiguousarray(array)}, metadata | who | {"id": row["id"], "path": row["path"]})


# ---------------------------------------------------------------- a dataset of Hugging Face

ROWS_TOGETHER = 16  # of a batch of Arrow's: 400 MB for a minute each of Base


def write_arrow(folder: Path, contents: Contents, rows: Sequence[dict[str, Any]], states: Sequence[Array]) -> str:
    """Write a row for each recording with a column for each layer; return the file, relative to the folder."""
    import pyarrow
    from datasets import Dataset

    columns: dict[str, list[Any]] = {key: [row[key] for row in rows] for key in ("id", "path", "seconds")}
    for place, layer in enumerate(contents.layers):
        columns[f"layer_{layer}"] = [array[place] for array in states]
    table = Dataset.from_dict(columns, features=features(contents)).data.table
    stream = io.BytesIO()
    with pyarrow.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, ROWS_TOGETHER)
    told = json.dumps([contents.described(), [(row["id"], row["digest"]) for row in rows]])
    file = f"{DATA}/{hashlib.sha256(told.encode()).hexdigest()[:24]}.arrow"
    (folder / DATA).mkdir(exist_ok=True)
    write_atomically(folder / file, stream.getvalue())
    return file


def features(contents: Contents) -> Any:
    """Return the types of the columns for the datasets library: (T, D) or (D,) for each layer."""
    from datasets import Array2D, Features, Sequence, Value

    dim, numbers = contents.upstream.dim, contents.numbers
    states = (
        Sequence(Value(numbers), length=dim)
        if contents.reduction == "means"
        else Array2D(shape=(None, dim), dtype=numbers)
    )
    plain = {"id": Value("string"), "path": Value("string"), "seconds": Value("float64")}
    return Features(plain | {f"layer_{layer}": states for layer in contents.layers})


def finish_dataset(folder: Path, contents: Contents, files: Sequence[str]) -> None:
    """Write what `datasets.load_from_disk` looks for beside the files; the same files give the same fingerprint."""
    from datasets import DatasetInfo

    described = contents.described()
    info = DatasetInfo(description=json.dumps(described, ensure_ascii=False), features=features(contents))
    DatasetInfo.write_to_directory(info, str(folder), pretty_print=True)
    state: dict[str, Any] = {
        "_data_files": [{"filename": file} for file in files],
        "_fingerprint": hashlib.sha256("\n".join(files).encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_atomically(folder / "state.json", json.dumps(state, indent=2).encode())
