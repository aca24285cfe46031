"""What weight files really are, which ones a path means, and tensors that are no weights."""

from __future__ import annotations

import argparse
import datetime
import gzip
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from upstream.errors import UserError
from upstream.named_tensors import require_floats
from upstream.weight_files import read_weights, weight_files

WEIGHTS = {"a": torch.arange(3.0)}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        call()
    return str(refused.value)


def bytes_of(write: Callable[[Any], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def zip_of(name: str) -> bytes:
    def write(stream: io.BytesIO) -> None:
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(name, "text")

    return bytes_of(write)


def torchscript() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still found on disks
        return bytes_of(lambda stream: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream))


def tar() -> bytes:
    def write(stream: io.BytesIO) -> None:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("member"))

    return bytes_of(write)


PLAIN = bytes_of(lambda stream: torch.save(WEIGHTS, stream))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML><html>404</html>", "a web page"),
        (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "a server's answer"),
        (b'{"error": "Repository not found"}', "a JSON text"),
        (b"", "is empty"),
        (bytes(4096), "is empty"),
        (zip_of("word/document.xml"), "a zip archive of other files (word/document.xml)"),
        (zip_of("archive/constants.pkl"), "a zip archive of other files"),
        (torchscript(), "a TorchScript program"),
        (bytes_of(lambda stream: np.savez(stream, a=np.zeros(2))), "a zip archive of other files (a.npy)"),
        (bytes_of(lambda stream: np.save(stream, np.zeros(2))), "a NumPy array"),
        (gzip.compress(PLAIN, mtime=0), "a gzip archive"),
        (tar(), "a tar archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio"),
        (pickle.dumps({"a": 1}, protocol=2), "a plain pickle"),
        (pickle.dumps({"a": 1}, protocol=5), "a plain pickle"),
        (PLAIN[: len(PLAIN) // 2], "cut short or damaged"),
        (b"anything else", "cut short or damaged, or of another kind"),
        (bytes_of(lambda stream: torch.save([1, 2], stream)), "has a list, not a dictionary"),
    ],
    # Bytes of drawn weights and of times differ from one process to the next; the names of tests may not.
    ids=lambda value: "content" if isinstance(value, bytes) else value,
)
@pytest.mark.parametrize("name", ["file.pt", "model.safetensors"])
def test_what_a_file_really_is(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(lambda: read_weights(tmp_path / name))
    assert words in message
    assert str(tmp_path / name) in message


def test_the_bytes_decide_and_not_the_name(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "pytorch_model.bin")
    torch.save(WEIGHTS, tmp_path / "model.safetensors")
    torch.save(WEIGHTS, tmp_path / "older.ckpt", _use_new_zipfile_serialization=False)
    for file in tmp_path.iterdir():
        assert torch.equal(read_weights(file)["a"], WEIGHTS["a"])


@pytest.mark.parametrize("length", [0x5B20, 0x7B20, 0x3C20])
def test_a_header_whose_length_reads_as_text_is_no_text(length: int, tmp_path: Path) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    assert read_weights(tmp_path / "model.safetensors")["a"].shape == (1,)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "link.pt").symlink_to("blobs/gone")
    (tmp_path / "folder.pt").mkdir()
    for name, words in (("pipe", "is a pipe"), ("link", "is a link to blobs/gone"), ("folder", "is a folder")):
        assert words in refusal(lambda name=name: read_weights(tmp_path / f"{name}.pt"))  # type: ignore[misc]


def test_settings_beside_weights_are_read_and_other_classes_are_named(tmp_path: Path) -> None:
    cfg = argparse.Namespace(folder=PosixPath("/data"), inner={"rate": 0.1}, when=datetime.date(2021, 1, 1))
    filled = defaultdict(list, loss=[1.0])
    scores = {"filled": filled, "best": np.float64(0.5), "all": np.zeros(3), "counts": {"a": np.int64(3)}}
    for zipped in (True, False):
        torch.save(
            WEIGHTS | {"cfg": cfg, "scores": scores}, tmp_path / "fine.pt", _use_new_zipfile_serialization=zipped
        )
        content = read_weights(tmp_path / "fine.pt")
        assert content["cfg"].inner == {"rate": 0.1}
        assert torch.equal(content["a"], WEIGHTS["a"])
        assert content["scores"]["filled"] == {"loss": [1.0]}
        assert not isinstance(content["scores"]["best"], np.generic), "NumPy's code ran"
    for value, asked in (
        (Fraction(1, 2), "fractions.Fraction"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (os.system, "system"),
    ):
        for zipped in (True, False):
            torch.save(WEIGHTS | {"other": value}, tmp_path / "other.pt", _use_new_zipfile_serialization=zipped)
            message = refusal(lambda: read_weights(tmp_path / "other.pt"))
            assert f"it asks for {asked}" in message or f".{asked}," in message, message


def test_which_files_a_path_means(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "finetuned.safetensors", "model-00001-of-00002.safetensors"):
        (tmp_path / name).write_bytes(b"")
    named = tmp_path / "finetuned.safetensors"
    assert weight_files(named) == [named]
    assert weight_files(tmp_path) == [tmp_path / "pytorch_model.bin"]
    piece = tmp_path / "model-00001-of-00002.safetensors"
    assert f"one of 2 files of a checkpoint; name their folder: {tmp_path}" in refusal(lambda: weight_files(piece))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(f'{{"weight_map": {{"a": "{piece.name}"}}}}')
    assert weight_files(index) == weight_files(tmp_path) == [piece]
    (tmp_path / "model.safetensors").symlink_to("blobs/gone")
    assert "is a link to blobs/gone" in refusal(lambda: read_weights(*weight_files(tmp_path)))
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "is not merged" in refusal(lambda: weight_files(tmp_path))
    assert weight_files(named) == [named]


def test_a_folder_without_weights_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "ema.bin").write_bytes(b"")
    message = refusal(lambda: weight_files(tmp_path))
    assert "found ema.bin" in message
    assert "Name the weight file itself" in message


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # quantised and sparse tensors are announced as unfinished
    ODD: dict[str, Tensor] = {
        "int8": torch.zeros(3, dtype=torch.int8),
        "uint8": torch.zeros(3, dtype=torch.uint8),
        "bool": torch.zeros(3, dtype=torch.bool),
        "int64": torch.zeros(3, dtype=torch.int64),
        "complex64": torch.zeros(3, dtype=torch.complex64),
        "float8_e4m3fn": torch.zeros(3).to(torch.float8_e4m3fn),
        "float8_e5m2": torch.zeros(3).to(torch.float8_e5m2),
        "quantised (qint8)": torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        "sparse (sparse_coo)": torch.eye(3).to_sparse(),
        "sparse (sparse_csr)": torch.eye(3).to_sparse_csr(),
        "without numbers": torch.empty(3, device="meta"),
        "a view of 1 numbers as 10,000,000,000": torch.zeros(1).expand(100_000, 100_000),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_tensors_that_are_no_plain_weights(kind: str, tmp_path: Path) -> None:
    torch.save({"odd.weight": ODD[kind]}, tmp_path / "file.pt")
    content = read_weights(tmp_path / "file.pt")
    assert f"odd.weight is {kind}" in refusal(lambda: require_floats(content, "file.pt"))


def test_dense_floats_are_weights() -> None:
    halves = {str(dtype): torch.zeros(2, dtype=dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)}
    require_floats(
        halves | {"part": torch.zeros(10)[2:4], "transposed": torch.zeros(2, 3).T, "none": torch.zeros(0)}, ""
    )


@pytest.mark.parametrize("name", [os.fsdecode(b"mod\xe9le.safetensors"), os.fsdecode(b"mod\xe9le.bin"), "modèle.bin"])
def test_a_name_that_is_no_text(name: str, tmp_path: Path) -> None:
    """The safetensors library opens only names in UTF-8."""
    write = torch.save if name.endswith(".bin") else lambda tensors, path: path.write_bytes(save(tensors))
    write(WEIGHTS, tmp_path / name)
    assert torch.equal(read_weights(tmp_path / name)["a"], WEIGHTS["a"])
