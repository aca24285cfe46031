"""Containers of phones, browsers and Windows that libsndfile does not know: is all of a recording there?

MP4 (m4a, 3gp, mov), Matroska (webm), ASF (wma), AAC in ADTS frames and AMR. FFmpeg decodes the part that is there, as
libsndfile does, so what these containers tell of their length is read here first (`compressed_sound` decodes them).

Sources: ISO base media file format (ISO 14496-12), EBML (RFC 8794) and Matroska (RFC 9559), ASF (Microsoft, revision
01.20), ADTS (ISO 13818-7), AMR's storage format (RFC 4867).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

from downstream.data.container_findings import AGAIN, WHOLE, Findings, cut_short, joined

BREAKS_OFF = Findings(f"is cut short: its last frame breaks off. {AGAIN}")

# ---------------------------------------------------------------- MP4

BOX_NAME = re.compile(rb"[ -~]{4}")


def mp4(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """MP4 and QuickTime: boxes of a size, a name and the content; moov, often the last one, tells where samples lie."""
    place, names = 0, list[bytes]()
    while place + 8 <= size:
        stream.seek(place)
        header = stream.read(16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - place  # to the end of the file
        if length < 8 or not BOX_NAME.fullmatch(name):
            break  # what a program left behind the last box
        names.append(name)
        place += length
    if place > size:
        return cut_short(place, size)
    if b"moov" not in names:
        return Findings(f"is cut short: what tells where its samples lie (its box moov) is not there. {AGAIN}")
    return joined() if names.count(b"moov") > 1 else WHOLE


# ---------------------------------------------------------------- Matroska

EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def matroska(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """Matroska and WebM: elements of a name, a size and the content; a browser writes sizes that are unknown.

    Then all elements must be whole; whether others followed, nobody knows.
    """
    place, is_live = 0, False
    while place < size:
        stream.seek(place)
        name, length, begin = element(stream.read(12), place)
        if name == EBML and place:
            return joined()
        if length is None:
            is_live |= name == SEGMENT
            place = begin  # its content is walked through
            continue
        place = begin + length
        if name == SEGMENT and place <= size:
            stream.seek(place)
            return joined() if stream.read(len(EBML)) == EBML else WHOLE
        if not name or place > size:
            return BREAKS_OFF if is_live or not name else cut_short(place, size)
    return WHOLE


def element(header: bytes, place: int) -> tuple[bytes, int | None, int]:
    """Return the name of an element at `place`, its size (None if unknown), and where its content begins.

    The first bit that is set tells how many bytes a name, and a size, has. The name is empty where there is none.
    """
    digits = 9 - header[0].bit_length()
    name, rest = header[:digits], header[digits:]
    width = 9 - rest[0].bit_length() if rest else 0
    if digits > 4 or not 1 <= width <= 8 or len(rest) < width:
        return b"", 0, place
    length = int.from_bytes(rest[:width], "big") & (1 << 7 * width) - 1
    return name, None if length == (1 << 7 * width) - 1 else length, place + digits + width


# ---------------------------------------------------------------- ASF


def asf(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """ASF, WMA: objects of a name of 16 bytes, a size of 8 and the content; a live stream's data have no size."""
    place = 0
    while place + 24 <= size:
        stream.seek(place + 16)
        length = int.from_bytes(stream.read(8), "little")
        if length < 24:
            return WHOLE
        place += length
    return WHOLE if place <= size else cut_short(place, size)


# ---------------------------------------------------------------- frames without a container

TAGS = (b"TAG", b"APETAGEX", b"ID3")  # which programs write behind the last frame
# Bytes of a frame by its type; types that are not here are reserved.
AMR_FRAMES = {
    b"#!AMR\n": dict(enumerate((13, 14, 16, 18, 20, 21, 27, 32, 6))) | {15: 1},
    b"#!AMR-WB\n": dict(enumerate((18, 24, 33, 37, 41, 47, 51, 59, 61, 6))) | {14: 1, 15: 1},
}


def adts(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """AAC in ADTS frames, each of which tells its length."""
    stream.seek(0)
    content, place = stream.read(), 0
    while place < size and not content.startswith(TAGS, place):
        header = content[place : place + 7]
        if len(header) < 7:
            return BREAKS_OFF
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        if header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or length < 7:
            return no_frame(place, size)
        place += length
    return WHOLE if place <= size else BREAKS_OFF


def amr(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """AMR, narrow and wide band: frames whose first byte tells their length."""
    stream.seek(0)
    content = stream.read()
    begins = next((begins for begins in AMR_FRAMES if content.startswith(begins)), None)
    if begins is None:
        return WHOLE  # of several channels, which FFmpeg refuses
    place = len(begins)
    while place < size:
        length = AMR_FRAMES[begins].get(content[place] >> 3 & 15)
        if length is None:
            return no_frame(place, size)
        place += length
    return WHOLE if place <= size else BREAKS_OFF


def no_frame(place: int, size: int) -> Findings:
    """Return the finding that no frame begins where the one before has ended."""
    return Findings(f"is damaged: no frame of audio begins at its byte {place} of {size}. {AGAIN}")


KNOWN: dict[bytes, tuple[str, Callable[[BinaryIO, bytes, int], Findings]]] = {
    b"0&\xb2u\x8ef\xcf\x11": ("a WMA or ASF file", asf),
    EBML: ("a Matroska or WebM file", matroska),
    b"#!AMR": ("AMR audio", amr),
    **dict.fromkeys((b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9"), ("AAC audio", adts)),
}
"""The first bytes of a container, what it is, and what examines it; MP4's name stands behind the size of its box."""


def kind_of(head: bytes) -> str | None:
    """Return what a file with these first bytes is, "an MP4 or M4A file"; None for what is not in this module."""
    if head[4:8] == b"ftyp":
        return "an MP4 or M4A file"
    return next((kind for begins, (kind, _) in KNOWN.items() if head.startswith(begins)), None)
