"""What lies in the place of recordings: its first bytes tell what it is, and what to do about it."""

from __future__ import annotations

import soundfile

from downstream.data.compressed_containers import kind_of
from downstream.data.compressed_sound import INSTALL, conversion
from upstream.errors import UserError
from upstream.file_kind import known_kind

CONVERT = "Convert it: `ffmpeg -i IN OUT.flac`."
INSTEAD = "Replace it by the recording, or leave it out of the corpus."
PULL = "Type `git lfs pull` in its repository."
UNPACK = "Unpack it."
# The first bytes, or those from the fourth on, of what lies in the place of recordings.
KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the recording", PULL),
    (b"<!doctype html", "a web page", "Download the recording itself, from the address behind the page's link."),
    (b"<html", "a web page", "Download the recording itself, from the address behind the page's link."),
    (b"<?xml", "an XML text, perhaps a server's answer", INSTEAD),
    (b"{", "a JSON text, perhaps a server's answer", INSTEAD),
    (b"\x00\x05\x16\x07", "a file that macOS keeps beside another, with no audio in it", "Leave it out of the corpus."),
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"\x93NUMPY", "a NumPy array", INSTEAD),
    (b"%PDF", "a PDF document", INSTEAD),
    (b"ajkg", "a Shorten file, which soundfile cannot decode", CONVERT),
    (b"MAC ", "a Monkey's Audio file, which soundfile cannot decode", CONVERT),
    (b"wvpk", "a WavPack file, which soundfile cannot decode", CONVERT),
)


def no_audio(name: str, head: bytes, error: soundfile.SoundFileError) -> UserError:
    """The error for a recording that soundfile cannot open: what it is instead, if its first bytes tell.

    name, head: of the recording, and its first bytes.
    """
    if not head:
        kind, fix = "empty", INSTEAD
    elif (compressed := kind_of(head)) is not None:
        kind, fix = f"{compressed}, which PyAV can", f"Type `{INSTALL}`, or convert it: `{conversion(name)}`."
    elif (found := known_kind(head, KINDS)) is not None:
        kind, fix = found
    else:
        return undecodable(name, error)
    return UserError(f"{name} is not audio that soundfile can decode: it is {kind}. {fix}")


def undecodable(name: str, error: soundfile.SoundFileError) -> UserError:
    """The error for a recording that soundfile cannot decode."""
    reason = getattr(error, "error_string", error)
    return UserError(
        f"{name} is not audio that soundfile can decode ({reason}). "
        "Replace the file by an intact WAV or FLAC, or leave it out of the corpus."
    )
