"""Containers that are streams of frames: Ogg, MP3 and FLAC, and how many of their frames are there.

Sources: Ogg (RFC 3533), FLAC (RFC 9639), MPEG audio (ISO 11172-3, 13818-3), the headers of Xing (LAME's mp3 info tag)
and Fraunhofer's VBRI.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from downstream.data.container_findings import AGAIN, WHOLE, Findings, cut_short, joined

# ---------------------------------------------------------------- Ogg

OGG_HEADER = 27  # bytes of a page before its table of segments
OGG_FIRST, OGG_LAST = 0x02, 0x04  # flags of a logical stream's first and last page


def ogg(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """Vorbis, Opus and others: the last page of every logical stream says that it is the last."""
    place, ended = 0, False
    open_streams: set[bytes] = set()
    while place < size:
        stream.seek(place)
        header = stream.read(OGG_HEADER)
        table = stream.read(header[26]) if len(header) == OGG_HEADER else b""
        if not header.startswith(b"OggS"):
            break  # a tag, or what else a program left behind the last page
        place += OGG_HEADER + len(table) + sum(table)
        if len(header) < OGG_HEADER or len(table) < header[26] or place > size:
            return Findings(f"is cut short: its last page breaks off. {AGAIN}")
        serial = header[14:18]
        if header[5] & OGG_FIRST:
            if ended and not open_streams:
                return joined()
            open_streams.add(serial)
        if header[5] & OGG_LAST:
            open_streams.discard(serial)
            ended = True
    if open_streams:
        return Findings(
            f"is cut short: its last page is not marked as the end. {AGAIN} If it is whole, `ffmpeg -i IN -c copy OUT` "
            "writes the mark."
        )
    return WHOLE


# ---------------------------------------------------------------- MP3

MPEG_1, MPEG_2, MPEG_25 = 3, 2, 0  # the version in a frame's header
KILOBITS = {
    MPEG_1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    MPEG_2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {MPEG_1: (44_100, 48_000, 32_000), MPEG_2: (22_050, 24_000, 16_000), MPEG_25: (11_025, 12_000, 8_000)}
ROOM_FOR_LENGTH = 9  # the bit rate whose frames have room for a header of Xing at every sampling rate
SAME = bytes.fromhex("fffe0c00")  # bits of a frame's header that are the same in all frames: version, layer, rate

# Writers count a frame more or less: the header's own, the decoder's delay. 8 frames are a fifth of a second.
FRAMES_TOO_FEW, FRAMES_TOO_MANY = 2, 8


@dataclass(frozen=True)
class Frame:
    """The header of an MPEG audio frame of layer III."""

    version: int
    mono: bool
    length: int

    @property
    def side_bytes(self) -> int:
        """Bytes between its header and its main data."""
        return (17 if self.mono else 32) if self.version == MPEG_1 else (9 if self.mono else 17)


def frame_at(content: bytes, place: int) -> Frame | None:
    """Return the frame that begins at `place`, None if none does."""
    header = content[place : place + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in RATES or bits in (0, 15) or rate == 3:
        return None
    kilobits = KILOBITS[MPEG_1 if version == MPEG_1 else MPEG_2][bits]
    scale = 144_000 if version == MPEG_1 else 72_000
    length = scale * kilobits // RATES[version][rate] + (header[2] >> 1 & 1)
    return Frame(version, header[3] >> 6 == 3, length)


def mp3(stream: BinaryIO, size: int) -> Findings:
    """MPEG layer III: its frames are counted, since all that libsndfile knows without a header is an estimate."""
    stream.seek(0)
    if not is_mp3(stream.read(10)):
        return WHOLE
    stream.seek(0)
    content = stream.read()
    first = behind_tags(content)
    frame = frame_at(content, first)
    if frame is None:
        return WHOLE
    next_frame = first + frame.length
    if next_frame < size and frame_at(content, next_frame) is None:
        return WHOLE
    announced, is_header = length_header(content, first, frame)
    count, bit_rates, end = count_frames(content, next_frame if is_header else first, content[first : first + 4])
    if announced:
        if count + FRAMES_TOO_FEW < announced:
            return cut_short(announced, count, "frames")
        return joined() if count > announced + FRAMES_TOO_MANY else WHOLE
    if end > size:
        return Findings(f"is cut short: its last frame breaks off. {AGAIN}")
    if len(bit_rates) == 1 and size - end <= frame.length:
        return WHOLE  # the estimate is right
    return Findings(patches=((first, 0, xing_frame(content[first : first + 4], frame, count)),))


def is_mp3(head: bytes) -> bool:
    """Return True if these can be the first bytes of an MP3."""
    return head.startswith(b"ID3") or frame_at(head, 0) is not None


def behind_tags(content: bytes) -> int:
    """Return where the audio begins behind ID3v2 tags."""
    place = 0
    while content[place : place + 3] == b"ID3" and len(content) > place + 10:
        has_footer, digits = content[place + 5] & 0x10, content[place + 6 : place + 10]  # digits of 7 bits
        place += 10 + sum(digit << shift for digit, shift in zip(digits, (21, 14, 7, 0), strict=True))
        place += 10 if has_footer else 0
    return place


def length_header(content: bytes, first: int, frame: Frame) -> tuple[int, bool]:
    """Return the frames that the header of Xing or VBRI in the first frame announces, and whether there is one."""
    xing, vbri = first + 4 + frame.side_bytes, first + 36
    if content[xing : xing + 4] in (b"Xing", b"Info"):
        has_count = int.from_bytes(content[xing + 4 : xing + 8], "big") & 1
        return int.from_bytes(content[xing + 8 : xing + 12], "big") if has_count else 0, True
    if content[vbri : vbri + 4] == b"VBRI":
        return int.from_bytes(content[vbri + 14 : vbri + 18], "big"), True
    return 0, False


def count_frames(content: bytes, place: int, header: bytes) -> tuple[int, set[int], int]:
    """Return the number of frames from `place` on, their bit rates, and where the last one ends, or should."""
    count, bit_rates, end = 0, set(), place
    while place < len(content):
        frame = frame_at(content, place) if is_like(content, place, header) else None
        if frame is None:
            place = resumed(content, place, header)
            continue
        end = place + frame.length
        count += end <= len(content)
        bit_rates.add(content[place + 2] >> 4)
        place = end
    return count, bit_rates, end


def is_like(content: bytes, place: int, header: bytes) -> bool:
    """Return True if the bytes at `place` have the version, layer and rate of a frame's header."""
    there = content[place : place + 4]
    return len(there) == 4 and all(
        one & mask == other & mask for one, other, mask in zip(there, header, SAME, strict=True)
    )


def resumed(content: bytes, place: int, header: bytes) -> int:
    """Return where frames go on behind bytes that are none: two frames, one behind the other; or the end."""
    while (place := content.find(header[:1], place + 1)) >= 0:
        frame = frame_at(content, place) if is_like(content, place, header) else None
        if frame is not None and is_like(content, place + frame.length, header):
            return place
    return len(content)


def xing_frame(header: bytes, frame: Frame, count: int) -> bytes:
    """Return a frame of silence like the others, with Xing's header in it, which announces `count` frames."""
    own = bytes(
        (header[0], header[1] | 1, ROOM_FOR_LENGTH << 4 | header[2] & 0x0C, header[3])
    )  # no checksum, no padding
    whole = frame_at(own, 0)
    assert whole is not None
    told = own + bytes(frame.side_bytes) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return told.ljust(whole.length, b"\0")


# ---------------------------------------------------------------- FLAC

STREAMINFO = 8  # where its content begins
ANOTHER_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # with the head of its STREAMINFO
LARGEST_FRAME = 2**17  # bytes; one of 4,096 samples in 8 channels of 24 bits has 100 KB
CRC_8, CRC_16 = 0x07, 0x8005
# A frame's samples by their code, or the number of bytes in which they stand behind the header, like some rates.
SAMPLES = {1: 192} | {code: 576 << code - 2 for code in range(2, 6)} | {code: 256 << code - 8 for code in range(8, 16)}
SAMPLES_BEHIND, RATE_BEHIND = {6: 1, 7: 2}, {12: 1, 13: 2, 14: 2}


def flac(stream: BinaryIO, head: bytes, size: int) -> Findings:
    """FLAC: a writer to a pipe leaves the number of samples 0; then the last frame tells it.

    Where the number is told, the decoder notices what is missing.
    """
    stream.seek(0)
    content = stream.read()
    if ANOTHER_FLAC.search(content, 1):
        return joined()
    block = int.from_bytes(head[STREAMINFO : STREAMINFO + 2], "big")
    told = int.from_bytes(head[STREAMINFO + 13 : STREAMINFO + 18], "big")
    if told & 2**36 - 1 or len(head) < STREAMINFO + 34 or head[4] & 0x7F:
        return WHOLE
    samples = end_of_last_frame(content[-LARGEST_FRAME:], block)
    if samples is None:
        return Findings(f"is cut short: it does not say how long it is, and its last frame breaks off. {AGAIN}")
    return Findings(patches=((STREAMINFO + 13, 5, (told | samples).to_bytes(5, "big")),))


def end_of_last_frame(content: bytes, block: int) -> int | None:
    """Return the number of samples up to the end of the last frame; None if the content ends with no whole frame.

    block: samples of a frame, where all but the last have the same number.
    """
    place = len(content)
    while (place := content.rfind(b"\xff", 0, place)) >= 0:
        if content[place + 1 : place + 2] not in (b"\xf8", b"\xf9"):
            continue
        header = content[place : place + 16]
        length, number, samples = flac_header(header)
        if length and remainder(header[:length], CRC_8, 8) == 0 and remainder(content[place:], CRC_16, 16) == 0:
            is_variable = header[1] & 1
            return (number if is_variable else number * block) + samples
    return None


def flac_header(header: bytes) -> tuple[int, int, int]:
    """Return the length of a frame's header with its checksum, the frame's number, and its samples; 0 if it is none.

    The number is that of the frame's first sample where frames are of several lengths.
    """
    ones = 8 - (~header[4] & 0xFF).bit_length() if len(header) == 16 else 1
    if ones in (1, 8):
        return 0, 0, 0
    number, place = header[4] & (0x7F >> ones), 5
    for _ in range(ones - 1):
        number, place = number << 6 | header[place] & 0x3F, place + 1
    code = header[2] >> 4
    samples, further = SAMPLES.get(code, 0), SAMPLES_BEHIND.get(code, 0)
    if further:
        samples = int.from_bytes(header[place : place + further], "big") + 1
    place += further + RATE_BEHIND.get(header[2] & 15, 0)
    return (place + 1, number, samples) if samples else (0, 0, 0)


def remainder(content: bytes, polynomial: int, bits: int) -> int:
    """Return the cyclic redundancy check of bytes; 0 for bytes with their own check behind them."""
    check, mask = 0, (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 & 1 else 0)
        table.append(value & mask)
    for byte in content:
        check = (check << 8 ^ table[check >> bits - 8 ^ byte]) & mask
    return check
