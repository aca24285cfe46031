"""What a file really is, where a weight file was expected: a page, a pointer, an archive, another library's format."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from upstream.files import require_regular_file

HEAD_BYTES = 512
TORCH_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # in the first bytes of files by torch.save before 1.6

UNPACK = "Unpack it, and name the weight file within."
SAVE_WITH_TORCH = 'Load it where it was made, and save its tensors alone: torch.save(model.state_dict(), "weights.pt").'
PAGE = "Download the file itself: on the hub its address has /resolve/ where the page's has /blob/."
ANSWER = "That is a server's answer in place of the file; check the address and the access to it."
SETTINGS = "Name the weights or their folder; in place of weights, it is a server's answer."

# The first bytes of a file, what it is, and what to do.
KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights", "Type `git lfs pull` in its repository."),
    (b"<!doctype html", "a web page", PAGE),
    (b"<html", "a web page", PAGE),
    (b"<?xml", "an XML text", ANSWER),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ", "an xz archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"\x89HDF\r\n", "an HDF5 file (Keras, TensorFlow)", SAVE_WITH_TORCH),
    (b"\x93NUMPY", "a NumPy array", SAVE_WITH_TORCH),
    (b"GGUF", "a GGUF file", "Only PyTorch's and safetensors weights are read; get the model in one of these."),
    (b"RIFF", "a RIFF file (audio)", "Name a checkpoint of a model."),
    (b"fLaC", "a FLAC file (audio)", "Name a checkpoint of a model."),
    (b"OggS", "an Ogg file (audio)", "Name a checkpoint of a model."),
    (b"ID3", "an MP3 file (audio)", "Name a checkpoint of a model."),
    (b"%PDF", "a PDF document", "Name a checkpoint of a model."),
)


def other_kind(path: Path) -> str | None:
    """Return what a file is and what to do, "is a web page. Download …", or None where it can be a weight file.

    Raises UserError if there is no regular file at `path`, and OSError if it cannot be read.
    """
    require_regular_file(path)
    if is_safetensors(path):
        return None
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.strip(b"\0"):
        return "is empty. Its download or copy was interrupted; get it again."
    if known := known_kind(head, KINDS):
        return f"is {known[0]}. {known[1]}"
    if head[257:262] == b"ustar":
        return f"is a tar archive. {UNPACK}"
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _kind_of_zip(path)
    if head.startswith(b"\x80") and TORCH_MAGIC not in head[:20]:
        return f"is a plain pickle, which may run code when it is loaded. {SAVE_WITH_TORCH}"
    if start_of_text(head).startswith((b"{", b"[")):
        return f"is a JSON text. {SETTINGS}"
    return None


def known_kind(head: bytes, kinds: Sequence[tuple[bytes, str, str]]) -> tuple[str, str] | None:
    """Return what a file with these first bytes is, and what to do, by a table such as `KINDS`; None for others."""
    text = start_of_text(head).lower()
    return next(((kind, fix) for start, kind, fix in kinds if head.startswith(start) or text.startswith(start)), None)


def start_of_text(head: bytes) -> bytes:
    """Return the first bytes of a text without its byte order mark and what is blank before it."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def is_safetensors(path: Path) -> bool:
    """Return True for a file that begins as safetensors do, whatever its name: the length of a header, then "{"."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size


def _kind_of_zip(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "is cut short or damaged: the table of contents at its end is missing. Get the file again."
    within = {name.partition("/")[2] for name in members}
    if "data.pkl" not in within:
        return f"is a zip archive of other files ({', '.join(members[:3]) or 'none'}). {UNPACK}"
    if "constants.pkl" in within or any(name.startswith("code/") for name in within):
        return f"is a TorchScript program. {SAVE_WITH_TORCH}"
    return None
