"""What is found where a container's length is compared with what is there."""

from __future__ import annotations

from dataclasses import dataclass

AGAIN = "Copy or download it again, or leave it out."

Patch = tuple[int, int, bytes]
"""Bytes that replace others: where these begin, how many they are, and what stands there instead."""


@dataclass(frozen=True)
class Findings:
    """What a recording's container lacks.

    fault: what is wrong and what to do, to be read after the recording's name; "" where all is there.
    patches: what a header would say if its writer had known the length; only with it libsndfile hears all.
    """

    fault: str = ""
    patches: tuple[Patch, ...] = ()

    def patched(self, content: bytes) -> bytes:
        """Return the recording with its length in its header."""
        for place, length, told in sorted(self.patches, reverse=True):
            content = content[:place] + told + content[place + length :]
        return content


WHOLE = Findings()


def cut_short(announced: int, there: int, what: str = "bytes") -> Findings:
    """Return the finding that fewer bytes, or frames, are there than were announced."""
    return Findings(f"is cut short: its header announces {announced} {what} and it has {there}. {AGAIN}")


def joined() -> Findings:
    """Return the finding that the file is two files, one behind the other, of which the first would be heard."""
    return Findings(
        "holds several recordings one behind the other, and only the first would be heard. Split them, or join them "
        "with an audio program."
    )
