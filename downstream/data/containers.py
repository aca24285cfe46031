"""Is all of an encoded recording there? What its container announces, beside the bytes that the file has.

libsndfile gives what it finds: half of a file that broke off, or nothing of one whose writer could not go back to fill
in the length. So the lengths are read here first. Containers of chunks and of fixed headers are in this module, those
that are streams of frames in `ogg_mp3_flac`, and those that libsndfile does not know in `compressed_containers`.

Sources: RIFF and WAVE (Microsoft and IBM, 1991), RF64 (EBU Tech 3306), Sony Wave64, AIFF (Apple, 1989), Core Audio
Format (Apple), Sun's .snd, NIST SPHERE, Creative's VOC.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from downstream.data import compressed_containers, ogg_mp3_flac
from downstream.data.container_findings import WHOLE, Findings, cut_short, joined

# Bytes by which a file may be shorter than its header says: some writers count a padding byte or chunk too many.
TOLERANCE = 1024
HEAD_BYTES = 1024

# A writer to a pipe puts the largest size it knows into the header, of 31 or 32 bits and less what stands before it:
# 0x7ffff000 (sox), 0x7f000000 (sox, AIFF), 0x80000000 (arecord), 0xffffffff (ffmpeg); or it leaves 0.
PLACEHOLDERS = (range(0, 1), range(0x7F000000, 0x80010000), range(0xFFFF0000, 2**32))

WAVE64 = bytes.fromhex("2e91cf11a5d628db04c10000")  # follows the letters riff
LARGEST_TOLD = 2**62  # sizes of 64 bits above it are placeholders

Order = Literal["little", "big"]


def examine(stream: BinaryIO) -> Findings:
    """Return what a container announces beside what is there; `WHOLE` for containers that are not known here."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    if head[4:8] == b"ftyp":
        return compressed_containers.mp4(stream, head, size)
    for begins, look in KNOWN.items():
        if head.startswith(begins):
            return look(stream, head, size)
    return ogg_mp3_flac.mp3(stream, size)


# ---------------------------------------------------------------- RIFF, AIFF


@dataclass(frozen=True)
class Chunk:
    """A chunk of a file: its name, where its content begins, and how long it says that is."""

    name: bytes
    begin: int
    announced: int


def chunks(
    stream: BinaryIO, first: int, size: int, order: Order, padded: bool = True, digits: int = 4
) -> Iterator[Chunk]:
    """Yield the chunks from the byte `first` on: a name of 4 bytes, a size of `digits` bytes, the content."""
    begin = first + 4 + digits
    while begin <= size:
        stream.seek(begin - 4 - digits)
        header = stream.read(4 + digits)
        chunk = Chunk(header[:4], begin, int.from_bytes(header[4:], order))
        yield chunk
        begin += chunk.announced + (chunk.announced % 2 if padded else 0) + 4 + digits


def in_chunks(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """RIFF, RIFX and AIFF: one chunk around all others, one of which holds the samples."""
    order: Order = "little" if head.startswith(b"RIFF") else "big"
    names = {b"WAVE": b"data", b"AIFF": b"SSND", b"AIFC": b"SSND", b"8SVX": b"BODY", b"16SV": b"BODY"}
    if (samples := names.get(head[8:12])) is None:
        return WHOLE
    announced = int.from_bytes(head[4:8], order)
    if not is_placeholder(announced, size):
        if announced + 8 > size + TOLERANCE:
            return cut_short(announced + 8, size)
        if follows(stream, announced + 8 + announced % 2, head[:4]):
            return joined()
    data = next((chunk for chunk in chunks(stream, 12, size, order) if chunk.name == samples), None)
    if data is None:
        return WHOLE
    if not is_placeholder(data.announced, size):
        if is_placeholder(announced, size) and data.begin + data.announced > size + TOLERANCE:
            return cut_short(data.begin + data.announced, size)
        return WHOLE
    rest = size - data.begin
    if head[8:12] != b"WAVE" or rest >= 2**32 - 2**16 or (data.announced == 0 and is_chunk(stream, data.begin, order)):
        return WHOLE
    told = ((4, size - 8), (data.begin - 4, rest))  # libsndfile reads a header with two zeros as an empty recording
    return Findings(patches=tuple((place, 4, number.to_bytes(4, order)) for place, number in told))


def is_placeholder(announced: int, size: int) -> bool:
    """Return True for what stands where a writer did not know the size; size: of the file."""
    return not 0 < announced <= size and any(announced in those for those in PLACEHOLDERS)


def follows(stream: BinaryIO, place: int, magic: bytes) -> bool:
    """Return True if another file begins at `place`."""
    stream.seek(place)
    return stream.read(len(magic)) == magic


def is_chunk(stream: BinaryIO, place: int, order: Order) -> bool:
    """Return True if there is nothing at `place`, or the header of a chunk that ends within the file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(place)
    header = stream.read(8)
    ends_within = place + 8 + int.from_bytes(header[4:], order) <= size + 1
    return not header or (ends_within and re.fullmatch(rb"[ -~]{4}", header[:4]) is not None)


# ---------------------------------------------------------------- other headers


def rf64(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """RF64 and BW64: as RIFF, with sizes of 64 bits in a chunk ds64 that comes first."""
    announced = int.from_bytes(head[20:28], "little")
    if head[12:16] != b"ds64" or not 0 < announced < LARGEST_TOLD or announced + 8 <= size + TOLERANCE:
        return WHOLE
    return cut_short(announced + 8, size)


def wave64(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """Sony's Wave64: the size of the whole file in 64 bits."""
    announced = int.from_bytes(head[16:24], "little")
    if head[4:16] != WAVE64 or not 0 < announced < LARGEST_TOLD or announced <= size + TOLERANCE:
        return WHOLE
    return cut_short(announced, size)


def core_audio(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """Apple's CAF: the chunk of samples may have the size -1, "to the end of the file", which libsndfile refuses."""
    for chunk in chunks(stream, 8, size, "big", padded=False, digits=8):
        if chunk.name != b"data":
            continue
        if chunk.announced == 2**64 - 1:
            return Findings(patches=((chunk.begin - 8, 8, (size - chunk.begin).to_bytes(8, "big")),))
        return cut_short(chunk.begin + chunk.announced, size) if chunk.begin + chunk.announced > size else WHOLE
    return WHOLE


def sun(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """Sun's and NeXT's AU."""
    order: Order = "big" if head.startswith(b".snd") else "little"
    begin, announced = (int.from_bytes(head[place : place + 4], order) for place in (4, 8))
    if is_placeholder(announced, size) or begin + announced <= size + TOLERANCE:
        return WHOLE
    return cut_short(begin + announced, size)


def sphere(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """NIST SPHERE: a header of text, whose length is its second line."""
    fields = dict(re.findall(rb"^(\w+) -i (\d{1,12})\s*$", head, re.MULTILINE))
    counts = [fields.get(name) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    length = re.match(rb"NIST_1A\n\s*(\d{1,9})\n", head)
    if length is None or None in counts or b"shorten" in head:
        return WHOLE
    samples, channels, width = (int(count or 0) for count in counts)
    announced = int(length[1]) + samples * channels * width
    return cut_short(announced, size) if announced > size + TOLERANCE else WHOLE


def creative(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """Creative's VOC: blocks of a type, a size of 24 bits and the content; type 0 ends them."""
    place = int.from_bytes(head[20:22], "little")
    while place + 4 <= size:
        stream.seek(place)
        block = stream.read(4)
        if block[0] == 0:
            return WHOLE
        place += 4 + int.from_bytes(block[1:], "little")
    return cut_short(place, size) if place > size + TOLERANCE else WHOLE


KNOWN: dict[bytes, Callable[[BinaryIO, bytes, int], Findings]] = {
    b"RIFF": in_chunks,
    b"RIFX": in_chunks,
    b"FORM": in_chunks,
    b"RF64": rf64,
    b"BW64": rf64,
    b"riff": wave64,
    b"caff": core_audio,
    b".snd": sun,
    b"dns.": sun,
    b"NIST_1A\n": sphere,
    b"Creative Voice File\x1a": creative,
    b"OggS": ogg_mp3_flac.ogg,
    b"fLaC": ogg_mp3_flac.flac,
    **{begins: look for begins, (_, look) in compressed_containers.KNOWN.items()},
}
